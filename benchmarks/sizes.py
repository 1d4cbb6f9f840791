"""Accuracy and time of the same weights on ever more points of the same shapes.

    python benchmarks/sizes.py ../shared/benchmark/meshes/*.ply

The network accepts any number of points by construction; this shows what it makes of them.
"""

import argparse
import time
from pathlib import Path
from statistics import mean

import numpy as np

from tfnormals.data.meshes import load_surface
from tfnormals.data.sampling import surface_sample
from tfnormals.estimation import estimate
from tfnormals.metrics import normal_metrics
from tfnormals.pretrained import DEFAULT_MODEL, load_model

SIZES = 200, 2_000, 20_000, 200_000


def main() -> None:
    """Prints a table of means over the shapes, without noise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("meshes", type=Path, nargs="+", help="Closed meshes.")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="Shipped name or path.")
    args = parser.parse_args()
    network = load_model(args.model)
    surfaces = [load_surface(path) for path in args.meshes]
    print("| points | unoriented RMSE | oriented RMSE | outward | points per second |")
    print("|---|---|---|---|---|")
    for size in SIZES:
        rng = np.random.default_rng(0)
        rows, seconds = [], 0.0
        for surface in surfaces:
            points, normals = surface_sample(surface, size, rng)
            started = time.perf_counter()
            found = estimate(points, network).normals
            seconds += time.perf_counter() - started
            rows.append(normal_metrics(found, normals))
        unoriented, oriented = (
            mean(r.rmse_deg for r in rows),
            mean(r.oriented_rmse_deg for r in rows),
        )
        outward = mean(r.outward_share for r in rows)
        speed = size * len(surfaces) / seconds
        print(
            f"| {size:,} | {unoriented:.1f}° | {oriented:.1f}° | {outward:.1%} | {speed:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
