"""Which side of a room's walls `--orient outward` takes, of scans from inside.

    python benchmarks/inside.py [--model NAME] [SCAN ...]

Virtual scans of procedural rooms that no seeded run of training draws: several merged pictures of
a depth camera that is moved about, one picture, and one to four laser scanners. Each SCAN is a
cloud whose sensor stood at the origin.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfnormals import estimate_normals, load_model, read_cloud
from tfnormals.data.procedural import FAMILIES, surface_of
from tfnormals.data.scanning import (
    Scan,
    depth_view_sample,
    inside_scan_sample,
    moved_view_sample,
    random_sensor,
)
from tfnormals.errors import DataError
from tfnormals.network import TensorFramesPointNet
from tfnormals.pretrained import DEFAULT_MODEL

SEED = 987_654
POINTS = 8_000, 80_000
SURE = 0.8
"""Confidence from which on a wrong side is told apart."""
ROW = "{:<32} {:>6} {:>12} {:>22} {:>16}"


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", nargs="*", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--clouds", type=int, default=20, help="of each kind")
    chosen = parser.parse_args()
    network = load_model(chosen.model)
    print(
        ROW.format("", "clouds", "to sensor, %", f"sure ({SURE}) but wrong, %", "mean confidence")
    )
    for kind in ("moved", "picture", "stations"):
        rows = [scored(scan, network) for scan in virtual_scans(kind, chosen.clouds)]
        print(told(kind, rows))
    for path in chosen.scans:
        points = read_cloud(path).points
        points = points[np.isfinite(points).all(axis=1)]
        print(told(path.name, [scored((points, -points, 0 * points), network)]))


def virtual_scans(kind: str, count: int) -> Iterator[Scan]:
    """So many scans of one kind."""
    rng = np.random.default_rng(SEED)
    makers = FAMILIES["rooms"]
    while count > 0:
        maker = makers[count % len(makers)]
        try:
            surface = surface_of(maker.__name__, maker(rng)).scaled()
        except DataError:
            continue
        points = int(np.exp(rng.uniform(*np.log(POINTS))))
        sensor = random_sensor(rng)
        if kind == "moved":
            scan = moved_view_sample(surface, points, rng, sensor)
        elif kind == "picture":
            scan = depth_view_sample(surface, points, rng, sensor)
        else:
            stations = int(rng.integers(1, 5))
            scan = inside_scan_sample(surface, points, rng, stations, sensor=sensor)
        if len(scan[0]) >= points / 2:  # otherwise there is little to see
            count -= 1
            yield scan


def scored(scan: Scan, network: TensorFramesPointNet) -> tuple[float, float, float]:
    """Share of normals on the true side, share of wrong ones that are sure, mean confidence."""
    points, truth, _ = scan
    normals, confidence = estimate_normals(points, model=network)
    right = (normals * truth).sum(axis=1) > 0
    sure = confidence > SURE
    return float(right.mean()), float((sure & ~right).mean()), float(confidence.mean())


def told(name: str, rows: list[tuple[float, float, float]]) -> str:
    """A row of the table."""
    right, wrong, confidence = np.mean(rows, axis=0)
    shares = f"{100 * right:.1f}", f"{100 * wrong:.1f}", f"{confidence:.2f}"
    return ROW.format(name, len(rows), *shares)


if __name__ == "__main__":
    main()
