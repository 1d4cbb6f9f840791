"""The Morton curve: an order in which points that are near in space are near in memory."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .storage import pieces
from .tensorframes.loops import space

BITS = 21
"""Of a coordinate, three of which make one number."""


def morton_order(points: Float[Tensor, "n 3"]) -> Int[Tensor, " n"]:
    """Row numbers along a Morton curve; equal rows end up side by side.

    Args:
        points: Finite coordinates.
    """
    low = points.amin(0)
    unit = (points.amax(0) - low).max().clamp(min=torch.finfo(points.dtype).tiny)

    def cells(rows: "slice | Tensor") -> Tensor:
        """Where points are in a grid, and the fraction where they are in its cell."""
        return (points[rows] - low) / unit * (2**BITS - 1)

    code = space((len(points),), torch.long, points.device)
    for part in pieces(len(points)):
        code[part] = _interleaved(cells(part))
    order = code.argsort()
    same = code[order].diff() == 0
    no = same.new_zeros(1)
    tied = (torch.cat([no, same]) | torch.cat([same, no])).nonzero()[:, 0]
    rows = order[tied]  # few: sorting all by five keys takes several times as long
    finer = _interleaved(cells(rows).frac() * 2**BITS)
    keys = [*points[rows].T.flip(0), finer, code[rows]]
    ranked = torch.arange(len(rows), device=rows.device)
    for key in keys:
        ranked = ranked[key[ranked].argsort(stable=True)]
    order[tied] = rows[ranked]
    return order


def _interleaved(cells: Float[Tensor, "n 3"]) -> Int[Tensor, " n"]:
    """The bits of three numbers in turn, their fractions left out."""
    x, y, z = (_spread(axis.long()) for axis in cells.T)
    return x | y << 1 | z << 2


def _spread(bits: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The lowest bits of each number, two zero bits apart."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        bits = (bits | bits << shift) & mask
    return bits
