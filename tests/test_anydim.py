import numpy as np
import pytest
import torch
from helpers import ROUNDING

from tfnormals.tensorframes.anydim import (
    AnyDimConfig,
    AnyDimLevel,
    AnyDimNeighborhoods,
    AnyDimNetwork,
    null_direction,
)

K = 6
each_dimension = pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5])


@pytest.fixture(scope="module")
def network():
    """Two levels with random weights, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AnyDimNetwork(AnyDimConfig(2, scalars=5, vectors=3, hidden=8)).double()


def cloud(dimension, count=40, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, dimension)))


def orthogonal(dimension, sign):
    """A rotation (sign 1) or a reflection (sign -1)."""
    rng = np.random.default_rng(dimension)
    matrix = torch.from_numpy(np.linalg.qr(rng.normal(size=(dimension, dimension)))[0])
    matrix[0] *= sign * torch.linalg.det(matrix).sign()
    return matrix


def neighborhoods(points):
    """Of the K nearest points, with an envelope that ends at the next one."""
    squared = (points[:, None] - points).square().sum(2)
    near, rows = squared.topk(K + 1, largest=False)
    offsets = points[rows[:, :K]] - points[:, None]
    envelope = 1 - (near[:, :K] / near[:, K:]) ** 3
    return AnyDimNeighborhoods(rows[:, :K].T, offsets.permute(2, 1, 0), envelope.T)


def levels(points):
    """Every third point forms the coarse level; a point's parents are the two nearest."""
    sampled = torch.arange(0, len(points), 3)
    squared = (points[:, None] - points[sampled]).square().sum(2)
    near, parents = squared.topk(3, largest=False)
    weights = 1 - near[:, :2] / near[:, 2:] + 1e-6
    weights = (weights / weights.sum(1, keepdim=True)).T
    none = torch.empty(0, len(sampled), dtype=torch.long)
    return [
        AnyDimLevel(neighborhoods(points), sampled, parents[:, :2].T, weights),
        AnyDimLevel(neighborhoods(points[sampled]), none[:0], none, none.double()),
    ]


def padded(points):
    return torch.nn.functional.pad(points, (0, 1))


def farthest(one, other):
    return float((one - other).detach().abs().max())


@each_dimension
def test_a_zero_coordinate_more_changes_nothing(network, dimension):
    points = cloud(dimension)

    tensor, side = network(levels(points))
    tensor_padded, side_padded = network(levels(padded(points)))

    assert farthest(tensor_padded, torch.nn.functional.pad(tensor, (0, 1, 0, 1))) < ROUNDING
    assert farthest(side_padded, padded(side)) < ROUNDING
    assert side.detach().abs().max() > 1e-3


@each_dimension
@pytest.mark.parametrize("sign", [1, -1], ids=["rotation", "reflection"])
def test_tensors_and_vectors_turn_with_the_points(network, dimension, sign):
    points, matrix = cloud(dimension), orthogonal(dimension, sign)

    tensor, side = network(levels(points))
    turned_tensor, turned_side = network(levels(points @ matrix.T))

    assert farthest(turned_tensor, matrix @ tensor @ matrix.T) < ROUNDING
    assert farthest(turned_side, side @ matrix.T) < ROUNDING


def test_reordered_neighborhoods_give_reordered_answers(network):
    points = cloud(2)
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(points)))
    place = torch.argsort(order)
    fine, coarse = levels(points)
    neighbors, offsets, envelope = fine.neighborhoods
    heard = AnyDimNeighborhoods(
        place[neighbors[:, order]], offsets[..., order], envelope[:, order]
    )
    moved = AnyDimLevel(heard, place[fine.sampled], fine.parents[:, order], fine.weights[:, order])

    answer, reordered = network([fine, coarse]), network([moved, coarse])

    assert farthest(reordered.tensor, answer.tensor[order]) < ROUNDING
    assert farthest(reordered.side, answer.side[order]) < ROUNDING


def test_a_neighbor_without_envelope_is_not_heard(network):
    fine, coarse = levels(cloud(2))
    envelope = fine.neighborhoods.envelope.clone()
    envelope[-1] = 0
    strangers = fine.neighborhoods.neighbors.clone()
    strangers[-1] = strangers[-1].flip(0)
    offsets = fine.neighborhoods.offsets.clone()
    offsets[:, -1] += 1

    def answer(neighbors, offsets):
        heard = AnyDimNeighborhoods(neighbors, offsets, envelope)
        return network([fine._replace(neighborhoods=heard), coarse])

    before = answer(fine.neighborhoods.neighbors, fine.neighborhoods.offsets)
    after = answer(strangers, offsets)

    assert farthest(before.tensor, after.tensor) < ROUNDING
    assert farthest(before.side, after.side) < ROUNDING


@each_dimension
def test_gradients_are_finite_and_reach_the_points(network, dimension):
    network.zero_grad()
    points = cloud(dimension).requires_grad_()

    tensor, side = network(levels(points))
    (tensor.square().sum() + side.square().sum()).backward()

    assert points.grad.isfinite().all()
    assert points.grad.any()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("envelope", [0.0, 1.0], ids=["without neighbours", "on one spot"])
def test_isolated_points_are_finite_and_have_no_direction(network, envelope):
    network.zero_grad()
    alone = AnyDimNeighborhoods(
        torch.arange(3)[None].repeat(K, 1),
        torch.zeros(2, K, 3, dtype=torch.float64),
        torch.full((K, 3), envelope, dtype=torch.float64),
    )
    weights = torch.ones(1, 3, dtype=torch.float64)
    level = AnyDimLevel(alone, torch.arange(3), torch.arange(3)[None], weights)

    tensor, side = network([level, level])
    (tensor.sum() + side.sum()).backward()
    directions, gap = null_direction(tensor.detach())

    assert not tensor.any()
    assert not side.any()
    assert directions.isfinite().all()
    assert not gap.any()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_the_null_direction_of_a_flat_tensor_is_its_normal(dimension):
    matrix = orthogonal(dimension, 1)
    values = torch.arange(dimension, dtype=torch.float64)

    directions, gap = null_direction((matrix.T * values @ matrix)[None])

    assert abs(abs(float(directions[0] @ matrix[0])) - 1) < ROUNDING
    assert abs(gap.item() - 1 / (2 * (dimension - 1))) < ROUNDING


def test_on_a_line_of_points_no_vector_leaves_the_line_but_the_null_direction_does(network):
    points = padded(cloud(1))

    tensor, side = network(levels(points))

    assert not side[:, 1].any()
    assert not tensor[:, 1].any()
    assert tensor[:, 0, 0].any()


def test_in_one_dimension_there_is_one_direction():
    directions, gap = null_direction(torch.tensor([[[3.0]], [[0.0]]]))

    assert directions.abs().tolist() == [[1.0], [1.0]]
    assert gap.tolist() == [1.0, 1.0]
