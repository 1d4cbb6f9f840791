"""Cartesian tensors and their irreducible parts, in any dimension.

The components of a tensor of order n are flattened row-major into d^n numbers. Symmetric traceless
tensors are stored by their coordinates in an orthonormal basis B (s, d^n), so that they turn with
the orthogonal matrix ``B R^(x)n B.T``, a polynomial in R: no Euler angles, no poles.
"""

import math
from functools import cache
from itertools import combinations_with_replacement, product

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


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


def traceless_matrix(R: Float[Tensor, "*n d d"], order: int) -> Float[Tensor, "*n s s"]:
    """The matrices by which R turns the coordinates of symmetric traceless tensors."""
    basis = traceless_basis(order, R.shape[-1], R.dtype, R.device)
    turned = turned_tensors(basis.flatten(), R, order).unflatten(-1, basis.shape)
    return basis @ turned.mT


def to_traceless(
    tensors: Float[Tensor, "*n c"], order: int, dimension: int
) -> Float[Tensor, "*n s"]:
    """Coordinates of the symmetric traceless parts of tensors of this order."""
    return tensors @ traceless_basis(order, dimension, tensors.dtype, tensors.device).mT


def from_traceless(
    coordinates: Float[Tensor, "*n s"], order: int, dimension: int
) -> Float[Tensor, "*n c"]:
    """The symmetric traceless tensors with these coordinates."""
    return coordinates @ traceless_basis(order, dimension, coordinates.dtype, coordinates.device)


@torch.compiler.assume_constant_result
@cache
def traceless_basis(
    order: int, dimension: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "s c"]:
    """Orthonormal symmetric traceless tensors that span all of them. Do not change the result."""
    with torch.inference_mode(mode=False):  # a kept tensor must be fit for autograd
        return torch.as_tensor(_traceless_basis(order, dimension), dtype=dtype, device=device)


def _traceless_basis(order: int, d: int) -> NDArray[np.float64]:
    """Gram-Schmidt of monomials, so the same on every machine: weights depend on the basis.

    A symmetric tensor is a homogeneous polynomial, and a traceless one is orthogonal to all
    multiples of |x|^2. Modulo these a power of the last variable above 1 can be eliminated.
    """
    monomials = list(combinations_with_replacement(range(d), order))
    row = {monomial: i for i, monomial in enumerate(monomials)}
    count = np.zeros(len(monomials))  # of tensor components that are equal by symmetry
    rows = [row[tuple(sorted(index))] for index in product(range(d), repeat=order)]
    np.add.at(count, rows, 1)
    multiples = list(combinations_with_replacement(range(d), order - 2)) if order > 1 else []
    kept = [monomial for monomial in monomials if monomial.count(d - 1) <= 1]
    columns = np.zeros((len(monomials), len(multiples) + len(kept)))
    for column, monomial in enumerate(multiples):
        for i in range(d):
            square = row[tuple(sorted((*monomial, i, i)))]
            columns[square, column] = 1 / np.sqrt(count[square])
    for column, monomial in enumerate(kept, start=len(multiples)):
        columns[row[monomial], column] = 1
    q, r = np.linalg.qr(columns)
    basis = (q * np.sign(np.diag(r)))[:, len(multiples) :]
    return (basis / np.sqrt(count)[:, None])[rows].T.copy()
