import numpy as np
import pytest
import torch
from helpers import ROUNDING
from numpy.testing import assert_allclose

from tfnormals.tensorframes.gram_schmidt import cross_product, gram_schmidt

each_dimension = pytest.mark.parametrize("dimension", [2, 3, 4, 5])


def some_vectors(dimension, count=20, seed=0, dtype=torch.float64):
    """One vector less than dimensions at each of so many nodes, of length about one half."""
    shape = (dimension - 1, count, dimension)
    normal = np.random.default_rng(seed).normal(size=shape) / (2 * dimension**0.5)
    return list(torch.from_numpy(normal).to(dtype))


def orthogonality(matrices):
    unit = torch.eye(matrices.shape[1], dtype=matrices.dtype)
    return float((matrices @ matrices.mT - unit).abs().max())


@each_dimension
def test_the_cross_product_is_the_determinant(dimension):
    vectors, (x, *_) = some_vectors(dimension), some_vectors(dimension, seed=1)

    expected = torch.linalg.det(torch.stack([*vectors, x], 1))

    assert_allclose((cross_product(vectors) * x).sum(1), expected, rtol=0, atol=ROUNDING)


@each_dimension
def test_frames_are_rotations_that_begin_along_the_vectors(dimension):
    vectors = some_vectors(dimension)

    matrices, defined = gram_schmidt(vectors)

    assert defined.all()
    assert orthogonality(matrices) < ROUNDING
    assert_allclose(torch.linalg.det(matrices), 1, rtol=0, atol=ROUNDING)
    local = matrices @ torch.stack(vectors, 2)
    assert (local.diagonal(dim1=1, dim2=2) > 0).all()
    assert local[:, 1:].tril().abs().max() < ROUNDING


@each_dimension
def test_vectors_nearly_parallel_still_give_orthogonal_axes_in_float32(dimension):
    first, *others = some_vectors(dimension, dtype=torch.float32)
    close = [first, *(first + 0.02 * other for other in others)]

    assert orthogonality(gram_schmidt(close).matrices) < 1e-6


def test_one_pass_would_not():
    first, other = some_vectors(3, dtype=torch.float32)
    e1 = torch.nn.functional.normalize(first)
    second = first + 1e-5 * other

    e2 = torch.nn.functional.normalize(second - (second * e1).sum(1, keepdim=True) * e1)

    assert (e1 * e2).sum(1).abs().max() > 1e-3


@each_dimension
def test_without_vectors_the_axes_are_those_of_space_and_flagged(dimension):
    matrices, defined = gram_schmidt([torch.zeros(3, dimension)] * (dimension - 1))

    assert not defined.any()
    assert torch.equal(matrices, torch.eye(dimension).expand(3, -1, -1))


def test_a_vector_gives_way_to_its_standby_continuously():
    first, standby = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.5, 0, 1.0]])
    lengths = torch.linspace(0, 0.1, 4000, dtype=torch.float64)[:, None]
    second = lengths * torch.tensor([[0, 1.0, 0]])
    rows = [v.double().expand(4000, -1) for v in (first, standby)]

    matrices, defined = gram_schmidt([rows[0], second], [rows[1], rows[1]])

    assert defined.all()
    assert_allclose(matrices[0, 1], [0, 0, 1], atol=ROUNDING)
    assert_allclose(matrices[lengths[:, 0] > 0.05, 1, 2], 0, atol=ROUNDING)
    assert matrices.diff(dim=0).abs().max() < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gap", [0.0, 1e-8, 1e-4, 1e-2], ids=str)
def test_gradients_are_bounded_where_vectors_meet(dtype, gap):
    first, other = (v.requires_grad_() for v in some_vectors(3, dtype=dtype))

    matrices, defined = gram_schmidt([first, first.detach() + gap * other])
    matrices.square().sum(2).sub(matrices[:, :, 0]).sum().backward()

    bound = 100 * torch.finfo(dtype).eps ** (-1 / 3)
    assert defined.all() == (gap > 3e-2 or (gap > 1e-5 and dtype is torch.float64))
    assert first.grad.abs().max() < bound
    assert other.grad.isfinite().all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_vectors_is_checked(count):
    with pytest.raises(ValueError, match=f"{count} vectors"):
        gram_schmidt([torch.zeros(4, 3)] * count)
