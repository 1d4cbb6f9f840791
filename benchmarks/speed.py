"""Times graph, network and whole pipeline on a made-up cloud, beside Open3D in the same run."""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from tfnormals.baseline import Open3dNormals
from tfnormals.cli.memory import keep_freed_memory
from tfnormals.estimation import estimate
from tfnormals.graph import build_graph
from tfnormals.network import level_tensors
from tfnormals.pretrained import DEFAULT_MODEL, load_model


def bumpy_torus(count: int) -> NDArray[np.float64]:
    """A torus (count, 3) with bumps, in no particular order."""
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0, 2 * np.pi, (2, count))
    tube = 0.4 + 0.05 * np.sin(5 * u) * np.cos(3 * v)
    ring = 1 + tube * np.cos(v)
    return np.column_stack([ring * np.cos(u), ring * np.sin(u), tube * np.sin(v)])


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    """Prints the median time of each stage and its ratio to Open3D's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped name or path")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    keep_freed_memory()  # as the command does
    points = bumpy_torus(args.points)
    network = load_model(args.model)
    levels = level_tensors(build_graph(points).levels)
    with Open3dNormals() as open3d, torch.no_grad():
        stages: dict[str, Callable[[], object]] = {
            "graph": lambda: build_graph(points),
            "network": lambda: network.answer(levels),
            "tfnormals, whole pipeline": lambda: estimate(points, network),
            "Open3D, normals (30) and orientation (15)": lambda: open3d(points),
        }
        rounds = [
            {name: seconds(call) for name, call in stages.items()} for _ in range(args.repeats)
        ]
    print(f"{args.points} points, {torch.get_num_threads()} threads, median of {args.repeats}")
    medians = {name: median(times[name] for times in rounds) for name in stages}
    open3d_seconds = list(medians.values())[-1]
    for name, value in medians.items():
        print(f"{name:42} {value:7.2f} s {value / open3d_seconds:7.2f} of Open3D")


if __name__ == "__main__":
    main()
