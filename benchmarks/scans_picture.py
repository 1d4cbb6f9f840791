"""Draws three real scans with their normals, side by side, as ``predict --preview`` draws one."""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from tfnormals.clouds import read_cloud
from tfnormals.estimation import estimate_normals
from tfnormals.pictures import save_images
from tfnormals.pretrained import DEFAULT_MODEL
from tfnormals.preview import preview_image

SCANS = {
    "livingroom_fragment.ply": "a room, RGB-D, fused",
    "milk_cartoon_all_small_clorox.pcd": "a table, Kinect",
    "region_growing_rgb_tutorial.pcd": "an office, Kinect",
}
"""What the files are, see README.md beside them; the sensor is at the origin of each."""
SENSOR = np.zeros(3)
WIDTH = 520
COLORS = 128


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", type=Path, help="folder of the scans")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped name or path")
    parser.add_argument("--out", type=Path, default=Path("docs/scans.png"))
    args = parser.parse_args()
    images = []
    for name in SCANS:
        points = read_cloud(args.scans / name).points
        started = perf_counter()
        normals, _ = estimate_normals(
            points, model=args.model, orient="viewpoint", viewpoint=SENSOR
        )
        print(f"{name}: {len(points):,} points, {perf_counter() - started:.1f} s")
        images.append(preview_image(points, normals, viewpoint=SENSOR, width=WIDTH))
    save_images(images, list(SCANS.values()), args.out)
    with Image.open(args.out) as picture:
        picture.convert("RGB").quantize(COLORS).save(args.out, optimize=True)
    print(args.out, f"{args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
