import numpy as np
import pytest
import torch
from helpers import sphere

from tfnormals.graph import NEIGHBORS, build_graph
from tfnormals.network import Answer
from tfnormals.orientation import OVERVIEW_WEIGHT, ROUNDS, Placed, agreed, influence, informed


def doubtful(normals, logit, error=0.0):
    size = torch.broadcast_to(torch.as_tensor(logit, dtype=normals.dtype), (len(normals),))
    return Answer(normals, size, torch.full_like(size, error))


class Ball:
    """A sphere, its outward normals, and those of its overview."""

    def __init__(self):
        points, normals = sphere(2000, np.random.default_rng(0))
        graph = build_graph(points)
        self.outward = torch.tensor(normals[graph.order])
        self.positions = graph.levels[0].receivers.positions
        self.neighbors = graph.levels[0].receivers.neighbors
        self.near = graph.overview.near
        self.left = self.outward[graph.levels[0].sampled]
        self.left_positions = graph.overview.levels[0].receivers.positions

    def informed(self, normals, logit, left, left_logit, left_error=0.0):
        first = Placed(doubtful(normals, logit), self.positions)
        overview = Placed(doubtful(left, left_logit, left_error), self.left_positions)
        return informed(first, overview, self.near, OVERVIEW_WEIGHT)


@pytest.fixture(scope="module")
def ball():
    return Ball()


def test_a_sure_overview_turns_the_sides_of_a_doubtful_cloud(ball):
    heard = ball.informed(-ball.outward, 1.0, ball.left, 5.0)

    torch.testing.assert_close(heard.normals, ball.outward)
    assert (heard.logit > 0.9 * (5 * OVERVIEW_WEIGHT - 1)).all()


def test_a_doubtful_overview_leaves_the_sides_of_a_sure_cloud(ball):
    heard = ball.informed(ball.outward, 5.0, -ball.left, 1.0)

    torch.testing.assert_close(heard.normals, ball.outward)
    assert (heard.logit < 1.1 * (5 - OVERVIEW_WEIGHT)).all()


def test_an_overview_that_is_unsure_of_directions_is_heard_less(ball):
    sure, unsure = (ball.informed(-ball.outward, 1.0, ball.left, 5.0, error) for error in (0, 0.9))

    torch.testing.assert_close(sure.normals, ball.outward)
    torch.testing.assert_close(unsure.normals, -ball.outward)


def test_both_looks_may_be_given_with_any_signs(ball):
    flips = torch.tensor(np.random.default_rng(1).choice([-1.0, 1.0], len(ball.outward)))
    logit = torch.linspace(0, 3, len(ball.outward)).double()

    one = ball.informed(ball.outward, logit, ball.left, 2.0)
    other = ball.informed(ball.outward * flips[:, None], logit * flips, -ball.left, -2.0)

    torch.testing.assert_close(one.normals, other.normals)
    torch.testing.assert_close(one.logit, other.logit)


def test_neighbours_turn_a_few_that_are_unsure(ball):
    wrong = torch.arange(len(ball.outward)) % 10 == 0
    normals = torch.where(wrong[:, None], -ball.outward, ball.outward)

    before = Placed(doubtful(normals, torch.where(wrong, 0.5, 3.0)), ball.positions)

    result = agreed(before, ball.neighbors, ROUNDS)

    torch.testing.assert_close(result.normals, ball.outward)
    assert (result.logit > 0).all()


def nearest(points, queries):
    """Rows of the points (3, n) nearest to each query (3, m), by distance."""
    distance = (points[:, :, None] - queries[:, None]).norm(dim=0)
    return distance.argsort(dim=0)[:NEIGHBORS].int()


def two_sheets(gap):
    """A grid with unit spacing and another above it, outward normals away from each other."""
    flat = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0), [0.0]), -1).reshape(-1, 3)
    above = flat + np.array([0.5, 0.5, gap])
    positions = torch.from_numpy(np.concatenate([flat, above]).T.copy())
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    lower = torch.arange(288)[:, None] < 144
    rows = nearest(positions, positions)
    return Placed(doubtful(torch.where(lower, -up, up), 1.0), positions), rows


@pytest.mark.parametrize("gap", [0.7, 1.0, 2.0])
def test_the_other_sheet_of_a_thin_wall_is_not_heard(gap):
    cloud, rows = two_sheets(gap)

    heard = influence(cloud, cloud, rows)

    across = (rows < 144) != (torch.arange(288) < 144)
    assert across.any()
    assert heard[across].abs().max() < 0.01
    assert heard[~across].min() >= 0
    assert (heard.sum(0) > 0.9).all()


def test_of_other_sheets_alone_nothing_is_heard():
    cloud, _ = two_sheets(1.0)
    lower = Placed(Answer(*(part[:144] for part in cloud.answer)), cloud.positions[:, :144])
    rows = 144 + nearest(cloud.positions[:, 144:], lower.positions)

    heard = influence(lower, cloud, rows)

    assert heard.abs().sum(0).max() < 0.05


def test_influence_does_not_depend_on_units(ball):
    answer = doubtful(ball.outward, 1.0)
    one, large = (
        influence(
            Placed(answer, s * ball.positions), Placed(answer, s * ball.positions), ball.neighbors
        )
        for s in (1.0, 1e9)
    )

    np.testing.assert_allclose(one, large, atol=1e-12)
