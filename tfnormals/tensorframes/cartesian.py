"""Cartesian tensors and their irreducible parts, in any dimension.

The components of a tensor of order n are flattened row-major into d^n numbers. Symmetric traceless
tensors are stored by their coordinates in an orthonormal basis B (s, d^n), so that they turn with
the orthogonal matrix ``D = B R^(x)n B.T``, a polynomial in R: no Euler angles, no poles.
"""

import math
import re
from collections.abc import Callable
from itertools import combinations, combinations_with_replacement, product
from operator import index
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Builder = Callable[[int, int], Array]


class OrderTwoParts(NamedTuple):
    """The irreducible parts of tensors of order 2; their lengths add up by Pythagoras."""

    scalar: Float[Tensor, "*n 1"]
    """The trace divided by sqrt(d): turns as ``0n``."""
    antisymmetric: Float[Tensor, "*n a"]
    """(T_ij - T_ji) / sqrt(2) of the d(d - 1)/2 planes: ``0p`` in 2-D, in 3-D the axis, ``1p``."""
    traceless: Float[Tensor, "*n s"]
    """The coordinates of the symmetric traceless part: ``2s``."""


def turned_tensors(
    tensors: Float[Tensor, "*n c"], R: Float[Tensor, "*m d d"], order: int
) -> Float[Tensor, "*k c"]:
    """Tensors with R applied to each of their indices.

    Args:
        tensors: Any number of tensors one after the other in the last axis.
        R: Matrices, broadcast against the leading axes of the tensors.
        order: Number of indices of a tensor.
    """
    if order == 0:
        return tensors.expand(*torch.broadcast_shapes(tensors.shape[:-1], R.shape[:-2]), -1)
    d, c = R.shape[-1], tensors.shape[-1]
    rest = d ** (order - 1)
    for _ in range(order):  # turns the last index and makes it the first
        turned = tensors.unflatten(-1, (c // d, d)) @ R.mT
        tensors = turned.unflatten(-2, (c // (d * rest), rest)).mT.flatten(-3)
    return tensors


def traceless_dim(order: int, dimension: int) -> int:
    """Number of components of a symmetric traceless tensor."""
    traces = math.comb(order + dimension - 3, order - 2) if order > 1 else 0
    return math.comb(order + dimension - 1, order) - traces


def traceless_basis(order: int, dimension: int, like: Tensor) -> Float[Tensor, "s c"]:
    """Orthonormal symmetric traceless tensors that span all of them.

    Args:
        order: Number of indices of a tensor.
        dimension: Of the space.
        like: Has the wanted type and device. The result is shared: do not change it.
    """
    return _constant(_traceless_basis, order, dimension, like)


def to_traceless(
    tensors: Float[Tensor, "*n c"], order: int, dimension: int
) -> Float[Tensor, "*n s"]:
    """Coordinates of the symmetric traceless parts of tensors of this order."""
    return tensors @ traceless_basis(order, dimension, tensors).mT


def from_traceless(
    coordinates: Float[Tensor, "*n s"], order: int, dimension: int
) -> Float[Tensor, "*n c"]:
    """The symmetric traceless tensors with these coordinates."""
    return coordinates @ traceless_basis(order, dimension, coordinates)


def to_parts(tensors: Float[Tensor, "*n c"], dimension: int) -> OrderTwoParts:
    """The irreducible parts of tensors of order 2."""
    return OrderTwoParts(*(tensors @ basis.mT for basis in _part_bases(tensors, dimension)))


def from_parts(parts: OrderTwoParts, dimension: int) -> Float[Tensor, "*n c"]:
    """The tensors of order 2 with these irreducible parts."""
    scalar, antisymmetric, traceless = _part_bases(parts.scalar, dimension)
    return (
        parts.scalar @ scalar + parts.antisymmetric @ antisymmetric + parts.traceless @ traceless
    )


def traceless_matrices(R: Float[Tensor, "*n d d"], highest: int) -> list[Tensor]:
    """The matrices D by which R turns the coordinates of symmetric traceless tensors.

    Args:
        R: Orthogonal matrices.
        highest: Order of the last matrix, at least 1; the first is that of order 1, R itself.
    """
    matrices, d = [R], R.shape[-1]
    for order in range(2, highest + 1):
        # D_n is linear in the products of D_(n-1) and R: one long matrix product for all nodes.
        # A chain of small ones needs fewer multiplications and takes three times as long.
        pairs = matrices[-1].flatten(-2)[..., :, None] * R.flatten(-2)[..., None, :]
        weights = _constant(_recursion, order, d, R)
        turned = pairs.flatten(-2) @ weights.flatten(1)
        matrices.append(turned.unflatten(-1, weights.shape[1:]))
    return matrices


_KEPT = SimpleNamespace()
"""Constant tensors. They are attributes since torch.compile sees those added while it traces."""


def _constant(build: Builder, order: int, dimension: int, like: Tensor) -> Tensor:
    """What build makes, in the type and on the device of a tensor."""
    order, dimension = index(order), index(dimension)  # plain numbers also in torch.compile
    return getattr(_KEPT, _name_of_kept(build, order, dimension, like.dtype, like.device))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _name_of_kept(
    build: Builder, order: int, dimension: int, dtype: torch.dtype, device: torch.device
) -> str:
    name = re.sub(r"\W", "_", f"{build.__name__} {order} {dimension} {dtype} {device}")
    if not hasattr(_KEPT, name):
        with torch.inference_mode(mode=False):  # what is kept must be fit for autograd later
            constant = torch.as_tensor(build(order, dimension), dtype=dtype, device=device)
        setattr(_KEPT, name, constant)
    return name


def _traceless_basis(order: int, d: int) -> Array:
    """Gram-Schmidt of monomials, so the same on every machine: weights depend on the basis.

    A symmetric tensor is a homogeneous polynomial, and a traceless one is orthogonal to all
    multiples of |x|^2. Modulo these a power of the last variable above 1 can be eliminated.
    """
    monomials = list(combinations_with_replacement(range(d), order))
    row = {monomial: i for i, monomial in enumerate(monomials)}
    rows = [row[tuple(sorted(indices))] for indices in product(range(d), repeat=order)]
    count = np.bincount(rows)  # of components that are equal by symmetry
    kept = [row[monomial] for monomial in monomials if monomial.count(d - 1) <= 1]
    factors = list(combinations_with_replacement(range(d), order - 2)) if order > 1 else []
    multiples = np.zeros((len(monomials), len(factors)))
    for column, factor in enumerate(factors):
        squares = [row[tuple(sorted((*factor, i, i)))] for i in range(d)]
        multiples[squares, column] = 1 / np.sqrt(count[squares])
    q, r = np.linalg.qr(np.hstack([multiples, np.eye(len(monomials))[:, kept]]))
    basis = (q * np.sign(np.diag(r)))[:, len(factors) :]
    return (basis / np.sqrt(count)[:, None])[rows].T.copy()


def _recursion(order: int, d: int) -> Array:
    """Weights (s' s' d d, s, s) that make the products of D_(n-1) and R into D_n.

    The first n - 1 indices of a symmetric traceless tensor are symmetric and traceless, so
    ``B_n = C (B_(n-1) (x) 1)`` and ``D_n = C (D_(n-1) (x) R) C.T``.
    """
    basis = _traceless_basis(order, d).reshape(-1, d ** (order - 1), d)
    C = np.einsum("sci,ac->sai", basis, _traceless_basis(order - 1, d))
    weights = np.einsum("sai,tbj->abijst", C, C)
    return weights.reshape((C.shape[1] * d) ** 2, *weights.shape[4:])


def _part_bases(like: Tensor, dimension: int) -> list[Tensor]:
    return [
        _constant(build, 2, dimension, like)
        for build in (_trace_basis, _plane_basis, _traceless_basis)
    ]


def _trace_basis(_: int, d: int) -> Array:
    return np.eye(d).reshape(1, -1) / np.sqrt(d)


def _plane_basis(_: int, d: int) -> Array:
    """Planes in the order and with the signs that give the usual axis in 3-D."""
    planes = list(combinations(range(d), 2))[::-1]
    basis = np.zeros((len(planes), d, d))
    for plane, (i, j) in zip(basis, planes, strict=True):
        plane[i, j] = -((-1) ** (i + j)) / np.sqrt(2)
        plane[j, i] = -plane[i, j]
    return basis.reshape(len(planes), d * d)
