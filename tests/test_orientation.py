import numpy as np
import pytest
import torch
from helpers import sphere

from tfnormals.graph import build_graph
from tfnormals.network import Answer, level_tensors
from tfnormals.orientation import informed


@pytest.fixture(scope="module")
def ball():
    points, normals = sphere(600, np.random.default_rng(0))
    graph = build_graph(points)
    levels = level_tensors(graph.levels, torch.float64)
    outward = torch.tensor(normals[graph.order])
    return levels, outward, outward[levels[0].sampled]


def doubtful(normals, logit):
    size = normals.new_full((len(normals),), logit)
    return Answer(normals, size, torch.full_like(size, 0.1))


def test_a_sure_overview_turns_the_sides_of_a_doubtful_cloud(ball):
    levels, outward, left = ball

    heard = informed(doubtful(-outward, 1.0), doubtful(left, 5.0), levels[:1])

    torch.testing.assert_close(heard.normals, outward)
    assert (heard.logit > 3).all()
    assert (heard.logit <= 4 + 1e-9).all()


def test_a_doubtful_overview_leaves_the_sides_of_a_sure_cloud(ball):
    levels, outward, left = ball

    heard = informed(doubtful(outward, 5.0), doubtful(-left, 1.0), levels[:1])

    torch.testing.assert_close(heard.normals, outward)
    assert (heard.logit < 4.2).all()


def test_both_looks_may_be_given_with_any_signs(ball):
    levels, outward, left = ball
    flips = torch.tensor(np.random.default_rng(1).choice([-1.0, 1.0], len(outward)))
    first = Answer(outward, torch.linspace(0, 3, len(outward)).double(), torch.zeros(len(outward)))
    # the same statement with turned normals and turned logits
    turned = Answer(outward * flips[:, None], first.logit * flips, first.error)

    one = informed(first, doubtful(left, 2.0), levels[:1])
    other = informed(turned, doubtful(-left, -2.0), levels[:1])

    torch.testing.assert_close(one.normals, other.normals)
    torch.testing.assert_close(one.logit, other.logit)
