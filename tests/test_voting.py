import numpy as np
import pytest
import torch
from helpers import LAYER, TURNS, cut, motion

from tfnormals.graph import build_graph
from tfnormals.metrics import angle_deg
from tfnormals.tensorframes.layers import measured
from tfnormals.voting import Directions, Voting

CONTEXT = 4


def voting(seed=0):
    """A round of votes with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        one = Voting(CONTEXT, 8).double()
        torch.nn.init.normal_(one.weigh.weight)
        torch.nn.init.normal_(one.doubt[2].weight)
    return one.requires_grad_(requires_grad=False)


def blob(count=400):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1)[:, None] * [1.0, 0.7, 0.5]


def finest(points):
    graph = build_graph(points)
    return graph, graph.levels[0].receivers


def random_input(count, seed=1):
    rng = np.random.default_rng(seed)
    lines = rng.normal(size=(3, count))
    lines /= np.linalg.norm(lines, axis=0)
    return lines, rng.normal(size=count), rng.normal(size=(count, CONTEXT))


def voted(one, points, lines, doubt, context):
    """Directions of all points, in their order: lines (3, n) and doubts (n,)."""
    graph, receivers = finest(points)
    before = Directions(
        torch.from_numpy(lines[:, graph.order]), torch.from_numpy(doubt[graph.order])
    )
    after = one(before, torch.from_numpy(context[graph.order]), receivers)
    return after.lines.numpy()[:, graph.inverse], after.doubt.numpy()[graph.inverse]


@pytest.mark.parametrize("kind", TURNS)
def test_votes_follow_rotations_and_mirror_images(kind):
    points, (lines, doubt, context) = blob(), random_input(400)
    turn = motion(kind, 400, np.random.default_rng(3))

    rest, rest_doubt = voted(voting(), points, lines, doubt, context)
    other, other_doubt = voted(voting(), turn.points(points), turn.matrix @ lines, doubt, context)

    np.testing.assert_allclose(other, turn.matrix @ rest, atol=LAYER)
    np.testing.assert_allclose(other_doubt, rest_doubt, atol=LAYER)


def test_the_signs_of_the_lines_do_not_matter():
    points, (lines, doubt, context) = blob(), random_input(400)
    signs = np.where(np.random.default_rng(4).random(400) < 0.5, -1.0, 1.0)

    rest, rest_doubt = voted(voting(), points, lines, doubt, context)
    other, other_doubt = voted(voting(), points, signs * lines, doubt, context)

    np.testing.assert_allclose(other, signs * rest, atol=LAYER)
    np.testing.assert_allclose(other_doubt, rest_doubt, atol=LAYER)


def test_lines_stay_of_unit_length():
    lines, _ = voted(voting(), blob(), *random_input(400))

    np.testing.assert_allclose(np.linalg.norm(lines, axis=0), 1, atol=LAYER)


def test_neighbours_that_agree_change_nothing():
    _, doubt, context = random_input(400)
    same = np.repeat([[0.6], [0.0], [0.8]], 400, axis=1)

    lines, _ = voted(voting(), blob(), same, doubt, context)

    np.testing.assert_allclose(lines, same, atol=LAYER)


def test_a_point_beside_an_edge_gets_the_normal_of_its_own_face():
    """Weights set by hand: the height over a neighbour's plane counts against its vote."""
    rng = np.random.default_rng(5)
    flat = rng.uniform(0, 1, (600, 2))
    floor = np.arange(600) < 300
    points = np.where(floor[:, None], np.c_[flat, 0 * flat[:, 0]], np.c_[0 * flat[:, 0], flat])
    truth = np.where(floor[:, None], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    near = np.where(floor, flat[:, 0], flat[:, 1]) < 0.05
    blurred = np.where(near[:, None], np.array([0.6, 0, 0.8]), truth)
    one = voting()
    for parameter in one.parameters():
        parameter.zero_()
    one.edge.weight[:, 1] = 20.0  # the sine of the height over the neighbour's plane
    one.weigh.weight[:] = -1.0

    lines = blurred.T
    for _ in range(3):
        lines, _ = voted(one, points, lines, np.zeros(600), np.zeros((600, CONTEXT)))

    def error(found):
        cosine = np.abs((found * truth).sum(1)).clip(max=1)
        return np.degrees(np.arccos(cosine))[near].mean()

    assert error(blurred) > 30
    assert error(lines.T) < 0.3 * error(blurred)
    assert angle_deg(lines.T[~near], truth[~near]).mean() < 1


def with_gradients(receivers, lines, doubt, context):
    """Directions after a round of votes, and gradients of all inputs and weights."""
    one = voting().requires_grad_()
    given = [part.clone().requires_grad_() for part in (lines, doubt, context)]
    after = one(Directions(*given[:2]), given[2], receivers)
    loss = (after.lines * after.lines.detach().roll(1, 0)).sum() + (after.doubt**2).sum()
    loss.backward()
    return after, [tensor.grad for tensor in (*given, *one.parameters())]


@pytest.mark.parametrize("chunk", [37, 4096])
def test_loops_count_the_same_votes_as_tensors_and_have_their_gradients(chunk, monkeypatch):
    graph, receivers = finest(blob())
    given = [torch.from_numpy(part) for part in random_input(len(graph.order))]
    whole, expected = with_gradients(measured(receivers), *given)

    cut(monkeypatch, chunk)
    found, gradients = with_gradients(receivers, *given)
    with torch.no_grad():
        parts = voting()(Directions(*given[:2]), given[2], receivers)

    for one, other in zip((*found, *parts, *gradients), (*whole, *whole, *expected), strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=0, atol=LAYER)
