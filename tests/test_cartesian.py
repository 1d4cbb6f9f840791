import math
from itertools import permutations, product

import numpy as np
import pytest
import torch
from helpers import ROUNDING

from tfnormals.tensorframes.cartesian import (
    from_parts,
    from_traceless,
    to_parts,
    to_traceless,
    traceless_basis,
    traceless_dim,
)

DOUBLE = torch.empty(0, dtype=torch.float64)
each_dimension = pytest.mark.parametrize("d", [1, 2, 3, 4])
each_order = pytest.mark.parametrize("order", range(5))


def tensors(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def assert_same(result, expected):
    torch.testing.assert_close(result, expected, rtol=0, atol=ROUNDING)


def symmetric(tensor):
    """The mean over all orders of the indices."""
    orders = list(permutations(range(tensor.ndim)))
    return sum(tensor.permute(order) for order in orders) / len(orders)


def traceless_by_formula(tensor, d):
    """sum_k a_k sym(delta^k (x) tr^k S), where
    a_k = (-1)^k n! / ((n - 2k)! 2^k k!) prod_{m=1..k} 1 / (2n + d - 2 - 2m).

    Source: DESIGN.md section 3.
    """
    n, total = tensor.ndim, 0
    term = symmetric(tensor)
    for k in range(n // 2 + 1):
        a = (-1) ** k * math.factorial(n) / (math.factorial(n - 2 * k) * 2**k * math.factorial(k))
        a /= math.prod(2 * n + d - 2 - 2 * m for m in range(1, k + 1))
        deltas = term
        for _ in range(k):
            deltas = torch.tensordot(torch.eye(d, dtype=tensor.dtype), deltas, 0)
        total = total + a * symmetric(deltas)
        if k < n // 2:
            term = term.diagonal(dim1=0, dim2=1).sum(-1)
    return total


@pytest.mark.parametrize("order", range(9))
def test_in_3d_there_are_2n_plus_1_components(order):
    assert traceless_dim(order, 3) == 2 * order + 1


@each_dimension
@each_order
def test_the_basis_is_orthonormal(d, order):
    basis = traceless_basis(order, d, DOUBLE)

    assert basis.shape == (traceless_dim(order, d), d**order)
    assert_same(basis @ basis.mT, torch.eye(len(basis), dtype=basis.dtype))


@each_dimension
@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_basis_is_symmetric_and_traceless(d, order):
    basis = traceless_basis(order, d, DOUBLE).unflatten(1, [d] * order)

    for first, second in product(range(1, order + 1), repeat=2):
        assert_same(basis.transpose(first, second), basis)
    assert_same(basis.diagonal(dim1=1, dim2=2).sum(-1), torch.zeros_like(basis[..., 0, 0]))


@each_dimension
@pytest.mark.parametrize("order", [0, 1])
def test_scalars_and_vectors_are_their_own_coordinates(d, order):
    basis = traceless_basis(order, d, DOUBLE)

    assert torch.equal(basis, torch.eye(d**order, dtype=basis.dtype))


def test_the_coordinates_of_a_matrix_stay_what_they_are():
    """Weights are trained for one basis: changing it breaks them without any error."""
    r2, r6 = 2**-0.5, 6**-0.5
    expected = [
        [[2 * r6, 0, 0], [0, -r6, 0], [0, 0, -r6]],
        [[0, r2, 0], [r2, 0, 0], [0, 0, 0]],
        [[0, 0, r2], [0, 0, 0], [r2, 0, 0]],
        [[0, 0, 0], [0, r2, 0], [0, 0, -r2]],
        [[0, 0, 0], [0, 0, r2], [0, r2, 0]],
    ]

    basis = traceless_basis(2, 3, DOUBLE).unflatten(1, (3, 3))

    assert_same(basis, torch.tensor(expected, dtype=basis.dtype))


@pytest.mark.parametrize("d", [2, 3, 4])
@each_order
def test_the_projection_is_the_closed_formula(d, order):
    tensor = tensors(*[d] * order)

    result = from_traceless(to_traceless(tensor.reshape(1, -1), order, d), order, d)

    assert_same(result.reshape(tensor.shape), traceless_by_formula(tensor, d))


@each_dimension
@each_order
def test_coordinates_survive_embedding(d, order):
    coordinates = tensors(2, 5, traceless_dim(order, d))

    result = to_traceless(from_traceless(coordinates, order, d), order, d)

    assert_same(result, coordinates)


@each_dimension
def test_the_parts_of_a_matrix_add_up(d):
    matrix = tensors(2, 5, d * d)

    assert_same(from_parts(to_parts(matrix, d), d), matrix)


@each_dimension
def test_the_lengths_of_the_parts_add_up(d):
    matrix = tensors(5, d * d)

    squares = sum(part.square().sum(1) for part in to_parts(matrix, d))

    torch.testing.assert_close(squares, matrix.square().sum(1), rtol=ROUNDING, atol=ROUNDING)


@each_dimension
def test_each_part_holds_what_it_says(d):
    matrix = tensors(5, d, d)
    trace = matrix.diagonal(dim1=1, dim2=2).sum(-1, keepdim=True)

    parts = to_parts(matrix.flatten(1), d)

    assert_same(parts.scalar, trace / d**0.5)
    assert_same(to_parts(matrix.mT.flatten(1), d).antisymmetric, -parts.antisymmetric)
    rest = (matrix + matrix.mT) / 2 - trace[..., None] / d * torch.eye(d, dtype=matrix.dtype)
    assert_same(from_traceless(parts.traceless, 2, d).unflatten(1, (d, d)), rest)


def test_the_antisymmetric_part_in_3d_is_the_cross_product():
    u, v = tensors(5, 3), tensors(5, 3, seed=1)

    parts = to_parts((u[:, :, None] * v[:, None]).flatten(1), 3)

    assert_same(parts.antisymmetric, torch.linalg.cross(u, v) / 2**0.5)


def test_the_antisymmetric_part_in_2d_is_the_signed_area():
    u, v = tensors(5, 2), tensors(5, 2, seed=1)

    parts = to_parts((u[:, :, None] * v[:, None]).flatten(1), 2)

    area = u[:, :1] * v[:, 1:] - u[:, 1:] * v[:, :1]
    assert_same(parts.antisymmetric, area / 2**0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_is_kept(dtype):
    matrix = tensors(5, 9).to(dtype)

    assert to_traceless(matrix, 2, 3).dtype is dtype
    assert from_parts(to_parts(matrix, 3), 3).dtype is dtype


def test_gradients_flow_there_and_back():
    matrix = tensors(2, 9).requires_grad_()

    assert torch.autograd.gradcheck(lambda m: from_parts(to_parts(m, 3), 3), matrix)
    assert torch.autograd.gradcheck(lambda m: to_traceless(m, 2, 3), matrix)
