import copy

import pytest
import torch
import train_on_gpu
from helpers import LAYER
from train_on_gpu import PaddedBatches, learn, padded, views

from tfnormals.data.batches import TrainingBatches
from tfnormals.network import measured_levels
from tfnormals.training import POINT_LIMIT, Clouds, limit_gradients, normal_losses


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(train_on_gpu, "POINTS", 6000)
    monkeypatch.setattr(train_on_gpu, "MOST_CLOUDS", 20)
    monkeypatch.setattr(train_on_gpu, "DRAWS", 2)
    monkeypatch.setattr(train_on_gpu, "DRAW_POINTS", 2000)
    monkeypatch.setattr(train_on_gpu, "FIELDS", train_on_gpu.layout())


def double(own):
    return {name: t.double() if t.is_floating_point() else t for name, t in own.items()}


def exact(level):
    near = level.receivers
    near = near._replace(frames=near.frames.double(), moments=near.moments.double())
    return level._replace(receivers=near, weights=level.weights.double())


def test_filled_up_batches_teach_the_same(exact_network):
    batch = TrainingBatches.__getitem__(PaddedBatches([], 6000, 0), 4)
    assert len(batch.lengths) > 1
    plain, filled = (copy.deepcopy(exact_network).requires_grad_() for _ in range(2))

    found = learn(filled, double(views(padded(batch))))
    levels = measured_levels([exact(level) for level in batch.levels])
    said = plain(levels)
    given = batch.normals.double(), batch.side_weight.double(), Clouds.of_lengths(batch.lengths)
    rounds = plain.voted(said, levels)
    expected = normal_losses(rounds, said.side, *given)
    limit_gradients(said, rounds, POINT_LIMIT / len(batch.normals))
    expected["loss"].backward()

    for name, loss in expected.items():
        assert found[name].item() == pytest.approx(loss.item(), abs=LAYER)
    for one, other in zip(plain.parameters(), filled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=LAYER)


def test_batches_fit_and_are_a_function_of_their_step():
    batches = PaddedBatches([], 6000, 0)

    one, same, other = (views(batches[step]) for step in (1, 1, 2))

    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["normals"], other["normals"])
    assert 0 < one["points"].sum() <= 6000
    assert one["points"][-1] == 0
    norms = one["normals"].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-5)
