"""Representations: which columns of a feature are scalars, vectors and tensors.

``Reps("16x0n+8x1n")`` are 16 scalars and 8 vectors. A block is written multiplicity x order kind:

- ``n``: tensors, with one factor R per index;
- ``p``: pseudotensors, with another factor det R;
- ``s``: symmetric traceless tensors, by their coordinates in an orthonormal basis;
- ``q``: the same with another factor det R.

Blocks lie one after the other; inside a block one tensor after the other, components row-major.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import TfnormalsError
from .cartesian import traceless_dim, traceless_matrices, turned_tensors

Kind = Literal["n", "p", "s", "q"]


class RepsError(TfnormalsError, ValueError):
    """Representations are malformed or do not fit together."""


class Rep(NamedTuple):
    """A block: some tensors of one order and kind."""

    multiplicity: int
    order: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.multiplicity}x{self.order}{self.kind}"

    @property
    def pseudo(self) -> bool:
        """Whether a reflection also flips the sign."""
        return self.kind in "pq"

    @property
    def traceless(self) -> bool:
        """Whether the tensors are symmetric and traceless, and stored by their coordinates."""
        return self.kind in "sq"

    def dim(self, dimension: int) -> int:
        """Number of columns of the block."""
        if self.traceless:
            return self.multiplicity * traceless_dim(self.order, dimension)
        return self.multiplicity * int(dimension**self.order)


@dataclass(frozen=True, init=False, repr=False)
class Reps:
    """The representations of the columns of a feature, in order.

    Args:
        blocks: Text like ``"16x0n+8x1n+2s"``, or the blocks themselves.
        dimension: Of the space.

    Raises:
        RepsError: If a block is malformed or the dimension is below 1.
    """

    blocks: tuple[Rep, ...]
    dimension: int
    slices: tuple[slice, ...] = field(compare=False)
    """The columns of each block."""
    dim: int = field(compare=False)
    """Number of columns."""

    def __init__(self, blocks: str | Iterable[Rep], dimension: int = 3) -> None:
        if dimension < 1:
            raise RepsError(f"dimension {dimension}: must be at least 1")
        parsed = _parsed(blocks) if isinstance(blocks, str) else tuple(blocks)
        for block in parsed:
            _check_block(block)
        ends = list(accumulate((block.dim(dimension) for block in parsed), initial=0))
        object.__setattr__(self, "blocks", parsed)
        object.__setattr__(self, "dimension", dimension)
        object.__setattr__(self, "slices", tuple(slice(*pair) for pair in pairwise(ends)))
        object.__setattr__(self, "dim", ends[-1])

    def of_order(self, order: int) -> "Reps":
        """The blocks of this order."""
        return Reps((block for block in self.blocks if block.order == order), self.dimension)

    def transform(
        self, x: Float[Tensor, "*n c"], R: Float[Tensor, "*m d d"]
    ) -> Float[Tensor, "*k c"]:
        """The features x turned by R; with frames as R, global features in these frames.

        Computed in the wider type of the two, also under autocast. The result may share memory
        with x.

        Args:
            x: Features, ``dim`` columns.
            R: Orthogonal matrices, rotations or reflections, broadcast against the leading axes
                of x: one for all, one for each node or edge.

        Raises:
            ValueError: If x has another number of columns or R is of another dimension.
        """
        self._check_shapes(x, R)
        dtype = torch.promote_types(x.dtype, R.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return self._transformed(x.to(dtype), R.to(dtype))

    def _transformed(self, x: Tensor, R: Tensor) -> Tensor:
        pairs = zip(self.blocks, self.slices, strict=True)
        filled = [(block, columns) for block, columns in pairs if columns.start < columns.stop]
        traceless = [block.order for block, _ in filled if block.traceless]
        matrices = traceless_matrices(R, max([1, *traceless]))
        det = torch.linalg.det(R)[..., None] if any(block.pseudo for block, _ in filled) else R
        parts = []
        for block, columns in filled:
            if block.traceless and block.order > 0:
                part = turned_tensors(x[..., columns], matrices[block.order - 1], 1)
            else:
                part = turned_tensors(x[..., columns], R, block.order)
            parts.append(part * det if block.pseudo else part)
        if not parts:
            return turned_tensors(x, R, 0)
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    def _check_shapes(self, x: Tensor, R: Tensor) -> None:
        d = self.dimension
        if x.shape[-1:] != (self.dim,):
            raise ValueError(f"features {tuple(x.shape)}: {self!r} has {self.dim} columns")
        if R.shape[-2:] != (d, d):
            raise ValueError(f"matrices {tuple(R.shape)}: {self!r} turns with {d} x {d}")

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Rep]:
        return iter(self.blocks)

    def __add__(self, other: "Reps") -> "Reps":
        if self.dimension != other.dimension:
            raise RepsError(f"{self!r} + {other!r}: the dimensions differ")
        return Reps(self.blocks + other.blocks, self.dimension)

    def __str__(self) -> str:
        return "+".join(map(str, self.blocks))

    def __repr__(self) -> str:
        return f"Reps({str(self)!r}, dimension={self.dimension})"


def _parsed(text: str) -> tuple[Rep, ...]:
    return tuple(_parsed_block(part, text) for part in text.split("+")) if text.strip() else ()


def _parsed_block(part: str, text: str) -> Rep:
    match = re.fullmatch(r"\s*(?:(\d+)x)?(\d+)([npsq])\s*", part, re.ASCII)
    if not match:
        raise RepsError(
            f"{part.strip()!r} in {text!r}: not a block; write multiplicity x order kind, "
            "like 8x1n, with kind n, p, s or q"
        )
    return Rep(int(match[1] or 1), int(match[2]), cast(Kind, match[3]))


def _check_block(block: Rep) -> None:
    if block.multiplicity < 0 or block.order < 0 or block.kind not in get_args(Kind):
        raise RepsError(
            f"{block!r}: multiplicity and order must not be negative, kind n, p, s or q"
        )
