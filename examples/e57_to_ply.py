"""All scans of an E57 file as one PLY in which every point knows where its scanner stood.

python examples/e57_to_ply.py scan.e57 scan.ply    # needs: pip install pye57
tfnormals predict scan.ply --sensor-columns sensor_x sensor_y sensor_z
"""

import sys

import numpy as np
import pye57
from plyfile import PlyData, PlyElement

NAMES = {"cartesianX": "x", "cartesianY": "y", "cartesianZ": "z"}
NAMES |= {"colorRed": "red", "colorGreen": "green", "colorBlue": "blue"}


def rows(scans, number):
    """The points of a scan, as a structured array, in the coordinates of the whole file."""
    fields = {"intensity", "colors", "row_column"}
    found = scans.read_scan(number, ignore_missing_fields=True, **dict.fromkeys(fields, True))
    columns = {NAMES.get(name, name): values for name, values in found.items()}
    count = len(columns["x"])
    sensor = zip("xyz", np.ravel(scans.scan_position(number)), strict=True)
    columns |= {f"sensor_{axis}": np.full(count, place) for axis, place in sensor}
    columns["scan"] = np.full(count, number, np.int32)
    return np.rec.fromarrays(list(columns.values()), names=list(columns))


def main(source, target):
    """Write the PLY; what a scan does not tell is 0."""
    with pye57.E57(source) as scans:
        parts = [rows(scans, number) for number in range(scans.scan_count)]
    types = {name: part.dtype[name] for part in parts for name in part.dtype.names}
    points = np.zeros(sum(map(len, parts)), list(types.items()))
    stops = np.cumsum([len(part) for part in parts])
    for part, stop in zip(parts, stops, strict=True):
        for name in part.dtype.names:
            points[name][stop - len(part) : stop] = part[name]
    PlyData([PlyElement.describe(points, "vertex")]).write(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
