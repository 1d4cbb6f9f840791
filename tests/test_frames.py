import numpy as np
import pytest
import torch
from helpers import LAYER, ROUNDING, reflection, rotation

from tfnormals.tensorframes import turned

SHAPES = [(3, 7), (3, 4, 7), (3, 2, 5, 7)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_way = pytest.mark.parametrize("back", [False, True], ids=["into frames", "back"])


def some_frames(count=7, seed=0):
    """Right- and left-handed frames (3, 3, n) in turn."""
    rng = np.random.default_rng(seed)
    frames = [(rotation, reflection)[i % 2](rng) for i in range(count)]
    return torch.from_numpy(np.stack(frames, axis=2))


def some_vectors(*shape, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@each_shape
def test_turning_is_a_matrix_product_at_every_node(shape):
    vectors, frames = some_vectors(*shape), some_frames()

    expected = torch.einsum("ijn,j...n->i...n", frames, vectors)

    torch.testing.assert_close(turned(vectors, frames), expected, rtol=0, atol=ROUNDING)


@each_shape
def test_turning_back_is_the_product_with_the_transposed_matrix(shape):
    vectors, frames = some_vectors(*shape), some_frames()

    expected = torch.einsum("jin,j...n->i...n", frames, vectors)

    result = turned(vectors, frames, back=True)
    torch.testing.assert_close(result, expected, rtol=0, atol=ROUNDING)


@each_shape
def test_there_and_back_is_nothing(shape):
    vectors, frames = some_vectors(*shape), some_frames()

    result = turned(turned(vectors, frames), frames, back=True)

    torch.testing.assert_close(result, vectors, rtol=0, atol=ROUNDING)


@each_way
def test_lengths_are_kept(back):
    vectors = some_vectors(3, 4, 7)

    result = turned(vectors, some_frames(), back)

    torch.testing.assert_close(result.norm(dim=0), vectors.norm(dim=0), rtol=0, atol=ROUNDING)


def test_turning_the_world_and_the_frames_together_changes_nothing():
    vectors, frames = some_vectors(3, 4, 7), some_frames()
    q = torch.from_numpy(reflection(np.random.default_rng(2)))
    moved = torch.einsum("ij,jcn->icn", q, vectors)

    result = turned(moved, torch.einsum("ijn,kj->ikn", frames, q))

    torch.testing.assert_close(result, turned(vectors, frames), rtol=0, atol=LAYER)


@each_shape
@each_way
def test_gradients_are_exact(shape, back):
    vectors = some_vectors(*shape).requires_grad_()

    assert torch.autograd.gradcheck(
        lambda v: turned(v, some_frames(), back), vectors, fast_mode=True
    )


def test_no_gradient_flows_into_the_frames():
    vectors, frames = some_vectors(3, 4, 7).requires_grad_(), some_frames().requires_grad_()

    turned(vectors, frames).square().sum().backward()

    assert vectors.grad is not None
    assert frames.grad is None


@each_way
def test_memory_layout_does_not_matter(back):
    vectors, frames = some_vectors(7, 4, 3).permute(2, 1, 0), some_frames().permute(1, 0, 2)

    expected = turned(vectors.contiguous(), frames.contiguous(), back)

    assert torch.equal(turned(vectors, frames, back), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_frames_decide_the_type(dtype):
    vectors = some_vectors(3, 4, 7).to(dtype)

    assert turned(vectors, some_frames()).dtype is torch.float64
    assert turned(vectors, some_frames().float()).dtype is torch.float32


@each_way
def test_arguments_are_not_changed(back):
    vectors, frames = some_vectors(3, 4, 7), some_frames()

    turned(vectors, frames, back)

    assert torch.equal(vectors, some_vectors(3, 4, 7))
    assert torch.equal(frames, some_frames())
