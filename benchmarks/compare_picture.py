"""Draws the picture of the README: Open3D's normals beside ours, red where they point inward."""

import argparse
import runpy
from pathlib import Path

from PIL import Image

from tfnormals.baseline import Open3dNormals
from tfnormals.estimation import estimate_normals
from tfnormals.metrics import normal_metrics
from tfnormals.pictures import save_images
from tfnormals.pretrained import DEFAULT_MODEL
from tfnormals.splatting import cloud_image

EXAMPLES = Path(__file__).parent.parent / "examples"
VIEW = (-70.0, 32.0)
WIDTH = 680
COLORS = 255


def main() -> None:
    """Draws the picture; the truth is known, so that the shares in its titles are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped name or path")
    parser.add_argument("--out", type=Path, default=EXAMPLES / "stilllife.png")
    args = parser.parse_args()
    points, truth, colors = runpy.run_path(str(EXAMPLES / "make_examples.py"))["still_life"]()
    with Open3dNormals() as open3d:
        answers = {"Open3D": open3d(points)}
    answers["tfnormals"], _ = estimate_normals(points, model=args.model)
    titles = [
        f"{name}: {100 * normal_metrics(normals, truth).outward_share:.0f} % outward"
        for name, normals in answers.items()
    ]
    images = [
        cloud_image(points, normals, colors=colors, view=VIEW, width=WIDTH)
        for normals in answers.values()
    ]
    save_images(images, titles, args.out)
    with Image.open(args.out) as picture:  # a third of the size, and no difference to see
        picture.convert("RGB").quantize(COLORS).save(args.out, optimize=True)
    print(args.out, "; ".join(titles))


if __name__ == "__main__":
    main()
