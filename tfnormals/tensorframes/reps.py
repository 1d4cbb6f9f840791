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
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import TfnormalsError
from .cartesian import traceless_dim, traceless_matrix, turned_tensors

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
        count = traceless_dim if self.traceless else _cartesian_dim
        return self.multiplicity * count(self.order, dimension)


@dataclass(frozen=True, init=False)
class Reps:
    """The representations of the columns of a feature, in order.

    Args:
        blocks: Text like ``"16x0n+8x1n+2s"``, or the blocks themselves.
        dimension: Of the space.

    Raises:
        RepsError: If the text is malformed or the dimension is below 1.
    """

    blocks: tuple[Rep, ...]
    dimension: int

    def __init__(self, blocks: str | Iterable[Rep], dimension: int = 3) -> None:
        if dimension < 1:
            raise RepsError(f"dimension {dimension}: must be at least 1")
        parsed = _parsed(blocks) if isinstance(blocks, str) else tuple(blocks)
        object.__setattr__(self, "blocks", parsed)
        object.__setattr__(self, "dimension", dimension)

    @property
    def dim(self) -> int:
        """Number of columns."""
        return sum(block.dim(self.dimension) for block in self.blocks)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The columns of each block."""
        sizes = (block.dim(self.dimension) for block in self.blocks)
        return tuple(slice(*ends) for ends in pairwise(accumulate(sizes, initial=0)))

    def of_order(self, order: int) -> "Reps":
        """The blocks of this order."""
        return Reps((block for block in self.blocks if block.order == order), self.dimension)

    def transform(
        self, x: Float[Tensor, "*n c"], R: Float[Tensor, "*m d d"]
    ) -> Float[Tensor, "*k c"]:
        """The features x turned by R; with a frame as R, global features in that frame.

        R must be orthogonal, is broadcast against the leading axes of x, and may mirror.
        Computed in the wider type of the two.

        Raises:
            ValueError: If x has another number of columns or R another dimension.
        """
        self._check_shapes(x, R)
        dtype = torch.promote_types(x.dtype, R.dtype)
        x, R = x.to(dtype), R.to(dtype)
        if any(block.pseudo for block in self.blocks):
            det = torch.linalg.det(R)[..., None]
        parts = []
        for block, columns in zip(self.blocks, self.slices, strict=True):
            part = _turned(x[..., columns], R, block)
            parts.append(part * det if block.pseudo else part)
        return torch.cat(parts, -1)

    def _check_shapes(self, x: Tensor, R: Tensor) -> None:
        d = self.dimension
        if x.ndim < 1 or x.shape[-1] != self.dim:
            raise ValueError(f"features {tuple(x.shape)}: {self} needs {self.dim} columns")
        if R.shape[-2:] != (d, d):
            raise ValueError(f"matrices {tuple(R.shape)}: {self} needs {d} x {d}")

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Rep]:
        return iter(self.blocks)

    def __add__(self, other: "Reps") -> "Reps":
        if self.dimension != other.dimension:
            raise RepsError(
                f"{self} + {other}: dimensions {self.dimension} and {other.dimension} differ"
            )
        return Reps(self.blocks + other.blocks, self.dimension)

    def __str__(self) -> str:
        return "+".join(map(str, self.blocks))


def _parsed(text: str) -> tuple[Rep, ...]:
    return tuple(_parsed_block(part, text) for part in text.split("+")) if text.strip() else ()


def _parsed_block(part: str, text: str) -> Rep:
    match = re.fullmatch(r"\s*(?:(\d+)x)?(\d+)([a-z])\s*", part, re.ASCII)
    if not match or match[3] not in get_args(Kind):
        raise RepsError(
            f"{part.strip()!r} in {text!r}: is no block; write multiplicity x order kind, "
            "as in 8x1n, with kind n, p, s or q"
        )
    kinds: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
    return Rep(int(match[1] or 1), int(match[2]), kinds[match[3]])


def _turned(x: Tensor, R: Tensor, block: Rep) -> Tensor:
    if not block.traceless:
        return turned_tensors(x, R, block.order)
    matrix = traceless_matrix(R, block.order)
    return (x.unflatten(-1, (block.multiplicity, matrix.shape[-1])) @ matrix.mT).flatten(-2)


def _cartesian_dim(order: int, dimension: int) -> int:
    return int(dimension**order)
