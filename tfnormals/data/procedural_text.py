"""Procedural lettering: words that stand alone, are raised on plates or are cut into them."""

import string
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from manifold3d import CrossSection, FillRule, Manifold
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from .procedural_parts import log_uniform

LETTERS = string.ascii_letters + string.digits + "&?@#%$"
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSansMono",
    "STIXGeneral",
)
"""Come with matplotlib."""
SIZE = 100.0  # at which outlines are made, where curves become lines fine enough


def lettering(rng: np.random.Generator) -> Manifold:
    """One to eight letters in a row, thin or deep, each a body of its own."""
    text = _text(rng, int(rng.integers(1, 9)))
    return text.extrude(log_uniform(rng, 0.04, 1.5))


def sign(rng: np.random.Generator) -> Manifold:
    """A plate with one to three lines raised on it, engraved, or cut through."""
    rows = [_text(rng, int(rng.integers(1, 9))) for _ in range(int(rng.integers(1, 4)))]
    text = CrossSection.compose([row.translate((0, -1.5 * k)) for k, row in enumerate(rows)])
    x0, y0, x1, y1 = text.bounds()
    margin, t = rng.uniform(0.1, 0.6), log_uniform(rng, 0.03, 0.4)
    size = (x1 - x0 + 2 * margin, y1 - y0 + 2 * margin)
    plate = CrossSection.square(size).translate((x0 - margin, y0 - margin))
    if rng.random() < 0.4:
        plate = plate.offset(0.4 * margin)
    kind = rng.random()
    if kind < 0.45:
        high = log_uniform(rng, 0.02, 0.3)
        return plate.extrude(t) + text.extrude(high + t / 2).translate((0, 0, t / 2))
    if kind < 0.75:
        deep = t * rng.uniform(0.2, 0.8)
        return plate.extrude(t) - text.extrude(2 * t).translate((0, 0, t - deep))
    return (plate - text).extrude(t)


def _text(rng: np.random.Generator, count: int) -> CrossSection:
    """Random letters in a random font, about one high."""
    font = FONTS[int(rng.integers(len(FONTS)))]
    letters = "".join(rng.choice(list(LETTERS), count))
    plain = letters.replace("$", r"\$")  # what stands between two of them would be a formula
    outlines = TextPath((0, 0), plain, size=SIZE, prop=_font(font)).to_polygons()
    text = CrossSection([np.array(line)[:-1] for line in outlines], FillRule.NonZero)
    return text.scale((1 / SIZE, 1 / SIZE)).simplify(1e-3)


@cache
def _font(name: str) -> FontProperties:
    return FontProperties(fname=Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"))
