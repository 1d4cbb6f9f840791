"""The contour model, trained on points of the plane only, on surfaces in space.

    python benchmarks/other_dimension.py ../shared/benchmark/meshes/*.ply

Its weights do not know how many coordinates there are (``tensorframes/anydim.py``), so they run on
surfaces as they are. Beside it: the line across the neighbours (PCA), and the model for surfaces.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from tfnormals.contours import frameless_levels, load_contour_network
from tfnormals.data.meshes import load_surface
from tfnormals.data.sampling import surface_sample
from tfnormals.estimation import estimate
from tfnormals.graph import build_graph
from tfnormals.metrics import normal_metrics
from tfnormals.pretrained import load_model
from tfnormals.tensorframes.anydim import null_direction

POINTS = 8_000
DIAGONALS = {"none": 0.0, "low": 0.0012, "med": 0.006}
"""Noise, in diagonals of the bounding box."""


def main() -> None:
    """Prints a table of means over the shapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("meshes", type=Path, nargs="+", help="Closed meshes.")
    surfaces = [load_surface(path).scaled() for path in parser.parse_args().meshes]
    network = load_model()
    estimators: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "PCA of 16 neighbours, no sides": across,
        "contour model, in space": flatlander,
        "model for surfaces": lambda points: estimate(points, network).normals,
    }
    print("| estimator | noise | unoriented RMSE | oriented RMSE | outward |")
    print("|---|---|---|---|---|")
    for name, estimator in estimators.items():
        for noise, level in DIAGONALS.items():
            rng = np.random.default_rng(0)
            rows = []
            for surface in surfaces:
                points, normals = surface_sample(surface, POINTS, rng)
                points = points + rng.normal(0, level, points.shape)
                rows.append(normal_metrics(estimator(points), normals))
            unoriented = mean(row.rmse_deg for row in rows)
            oriented = mean(row.oriented_rmse_deg for row in rows)
            outward = mean(row.outward_share for row in rows)
            print(f"| {name} | {noise} | {unoriented:.1f}° | {oriented:.1f}° | {outward:.1%} |")


def across(points: np.ndarray) -> np.ndarray:
    """The third axes of the frames, which point anywhere."""
    graph = build_graph(points)
    return graph.levels[0].receivers.frames[2].T.numpy()[graph.inverse]


def flatlander(points: np.ndarray) -> np.ndarray:
    """Normals by the contour model."""
    graph = build_graph(points)
    with torch.no_grad():
        tensor, side = load_contour_network()(frameless_levels(graph, 3))
    lines, _ = null_direction(tensor.double())
    outward = (side * lines).sum(1, keepdim=True) >= 0
    return torch.where(outward, lines, -lines).numpy()[graph.inverse]


if __name__ == "__main__":
    main()
