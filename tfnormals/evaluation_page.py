"""An evaluation as one web page that needs nothing else: no network, no script, no other file."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .evaluation import AVERAGE, Figures
from .evaluation_curves import draw_errors
from .evaluation_pictures import ERRORS, WRONG_SIDE, CloudPictures
from .evaluation_table import CLOUD, MEAN, cells, figure_text, headings

Array = NDArray[np.float64]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing."""
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1300px; padding: 0 1em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { white-space: pre-line; vertical-align: bottom; border-bottom: 1px solid #888 }
th, td { padding: .1em .6em; text-align: right; white-space: nowrap }
th { white-space: pre }
.text { text-align: left }
.end td { border-bottom: 1px solid #ccc }
.wide { overflow-x: auto; margin: 1em 0 }
.curves { max-width: 100%; height: auto }
summary { font-size: 1.3em; font-weight: bold; cursor: pointer; margin: .8em 0 }
h3 { margin: 1.2em 0 .2em; overflow-wrap: anywhere }
section { content-visibility: auto; contain-intrinsic-size: auto 320px }
.row { display: flex; flex-wrap: wrap; gap: .6em }
figure { margin: 0; max-width: 240px; overflow-wrap: anywhere }
figcaption { font-size: .85em; color: #444 }
.key { display: inline-block; height: .8em; border: 1px solid #888 }
"""


class Entry(NamedTuple):
    """What is shown of a cloud."""

    name: str
    pictures: CloudPictures | None
    """None where there are too few points."""
    shares: dict[str, Array]
    """Of errors in each bin, by estimator; without those that failed."""
    lines: list[Figures]
    """The figures of each estimator."""


def page(title: str, means: Sequence[Figures], variants: Mapping[str, Sequence[Entry]]) -> str:
    """The whole page.

    Args:
        title: What was evaluated.
        means: Figures of each estimator for every variant and for the average.
        variants: The clouds of each variant.
    """
    count = sum(map(len, variants.values()))
    shares = [_mean_shares([entry.shares for entry in entries]) for entries in variants.values()]
    sections = [
        _variant(name, entries, curves, opened=name == next(iter(variants)))
        for (name, entries), curves in zip(variants.items(), shares, strict=True)
    ]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>Normals of {escape(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>Normals of {escape(title)}</h1>",
            f"<p>{count} clouds, compared with their true normals by tfnormals {__version__}.</p>",
            _table(("estimator", "variant"), MEAN, means),
            _curves(_mean_shares(shares), "average over the variants"),
            _legend(),
            *sections,
            "</body></html>\n",
        ]
    )


def _variant(
    name: str, entries: Sequence[Entry], shares: Mapping[str, Array], *, opened: bool
) -> str:
    """The clouds of a variant, folded in unless opened."""
    lines = [{**line, "shape": entry.name} for entry in entries for line in entry.lines]
    return "\n".join(
        [
            f"<details{' open' if opened else ''}><summary>{escape(name)}</summary>",
            _curves(shares, f"mean over the clouds of {name}"),
            _table(("estimator", "shape"), CLOUD, lines),
            *map(_cloud, entries),
            "</details>",
        ]
    )


def _cloud(entry: Entry) -> str:
    """A cloud in pictures, the answers of each estimator side by side."""
    figures: list[str] = []
    if entry.pictures:
        figures.append(_figure(entry.pictures.truth, "true normals"))
    for line in entry.lines:
        name = str(line["estimator"])
        if line["error"]:
            figures.append(f"<figure>{escape(name)} failed: {escape(str(line['error']))}</figure>")
        elif entry.pictures:
            error = f"{name}: RMSE {figure_text(line, 'rmse_deg')}°, oriented "
            error += f"{figure_text(line, 'oriented_rmse_deg')}°, outward "
            error += f"{figure_text(line, 'outward_share')} %"
            figures.append(_figure(entry.pictures.normals[name], name))
            figures.append(_figure(entry.pictures.errors[name], error))
    row = "".join(figures) or "too few points for a picture"
    return f'<section><h3>{escape(entry.name)}</h3><div class="row">{row}</div></section>'


def _table(texts: Sequence[str], around: tuple[str, str], lines: Iterable[Figures]) -> str:
    """A table: columns of text, what counts the clouds, the errors, what times them."""
    head = "".join(f'<th class="text">{name}</th>' for name in texts)
    head += "".join(f"<th>{name}</th>" for name in headings(*around))
    return "\n".join(
        [
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>',
            *(_line(texts, around, line) for line in lines),
            "</tbody></table></div>",
        ]
    )


def _line(texts: Sequence[str], around: tuple[str, str], line: Figures) -> str:
    said = "".join(f'<td class="text">{escape(str(line[name]))}</td>' for name in texts)
    said += "".join(f"<td>{cell}</td>" for cell in cells(line, *around))
    return f"<tr{' class=end' * (line['variant'] == AVERAGE)}>{said}</tr>"


def _curves(shares: Mapping[str, Array], title: str) -> str:
    if not shares:
        return ""
    source = _data(draw_errors(shares), "svg+xml")
    return f'<p>Errors, {escape(title)}:</p><img class="curves" alt="curves" src="{source}">'


def _legend() -> str:
    stops = ", ".join(f"rgb{color} {angle / 0.9:.0f}%" for angle, color in ERRORS)
    return (
        "<p>Every cloud is seen from the same side in all its pictures: coloured by its normals "
        "(red, green and blue are x, y and z), then by their errors: "
        f'0° <span class="key" style="width:16em;background:linear-gradient(90deg,{stops})">'
        "</span> 90°, and on the wrong side "
        f'<span class="key" style="width:1.6em;background:rgb{WRONG_SIDE}"></span>. '
        "Grey has no normal.</p>"
    )


def _figure(picture: bytes, caption: str) -> str:
    return (
        f'<figure><img loading="lazy" decoding="async" alt="" src="{_data(picture, "jpeg")}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def _mean_shares(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The mean for each estimator, over those parts that it is in."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: np.mean([part[name] for part in parts if name in part], axis=0) for name in names
    }
