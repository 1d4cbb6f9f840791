"""What a GPU says is what a CPU says; these tests need a CUDA device."""

import copy

import numpy as np
import pytest
import torch
from helpers import EXACT_DEG, FLOAT32_MEDIAN_DEG, LAYER, ROUNDING

from tfnormals.data import batches
from tfnormals.estimation import estimate
from tfnormals.graph import build_graph
from tfnormals.metrics import angle_deg
from tfnormals.pretrained import DEFAULT_MODEL, RUN_MODEL, load_model
from tfnormals.tensorframes import loops
from tfnormals.training import Clouds, Trainer, TrainingConfig, normal_losses, on_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
GPU = torch.device("cuda")


def torus(count):
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0, 2 * np.pi, (2, count))
    around = 1 + 0.4 * np.cos(v)
    return np.stack([around * np.cos(u), around * np.sin(u), 0.4 * np.sin(v)], 1)


def every_level(graph):
    return [*graph.levels, *graph.overview.levels]


def test_the_graph_is_that_of_the_cpu():
    pytest.importorskip("numba_cuda", reason="no numba-cuda, which builds graphs on a GPU")
    points = torus(20_000)

    here, there = build_graph(points), build_graph(points, device=GPU)

    np.testing.assert_array_equal(here.order, there.order)
    np.testing.assert_array_equal(here.inverse, there.inverse)
    for a, b in zip(every_level(here), every_level(there), strict=True):
        assert b.weights.device.type == "cuda"
        near, other = a.receivers, b.to(torch.device("cpu")).receivers
        assert torch.equal(near.neighbors.sort(0).values, other.neighbors.sort(0).values)
        assert torch.equal(a.sampled, b.sampled.cpu())
        assert torch.equal(a.parents, b.parents.cpu())
        for one, moved in (
            (near.frames, other.frames),
            (near.moments, other.moments),
            (a.weights, b.weights.cpu()),
        ):
            torch.testing.assert_close(one, moved, rtol=0, atol=LAYER)


def test_exact_normals_are_those_of_the_cpu():
    network, points = load_model(DEFAULT_MODEL), torus(3000)

    here, there = (
        estimate(points, network, dtype=torch.float64, device=device) for device in ("cpu", GPU)
    )

    assert angle_deg(there.normals, here.normals).max() < EXACT_DEG
    assert np.allclose(there.confidence, here.confidence, rtol=0, atol=1e-6)


@pytest.mark.parametrize("chunk", [1 << 18, 7000])
def test_normals_are_those_of_the_cpu_within_rounding(chunk, monkeypatch):
    monkeypatch.setattr(loops, "GPU_CHUNK", chunk)
    network, points = load_model(DEFAULT_MODEL), torus(20_000)

    here, there = (estimate(points, network, device=device) for device in ("cpu", GPU))

    angles = angle_deg(there.normals, here.normals)
    assert np.median(angles) < FLOAT32_MEDIAN_DEG
    assert np.quantile(angles, 0.999) < 0.05


def gradients(network, batch):
    found = network(batch.levels)
    rounds = network.voted(found, batch.levels)
    normals = batch.normals.to(found.side)
    clouds = Clouds.of_lengths(batch.lengths, normals.device)
    losses = normal_losses(rounds, found.side, normals, batch.side_weight, clouds)
    losses["loss"].backward()
    return {name: value.grad.cpu() for name, value in network.named_parameters()}


@pytest.fixture
def exact_graphs(monkeypatch):
    """Batches in float64; frames rounded to float32 are orthogonal to 1e-7 only."""
    monkeypatch.setattr(batches, "build_graph", lambda points, *_: build_graph(points))


def test_gradients_are_those_of_the_cpu(exact_network, exact_graphs):
    batch = batches.TrainingBatches([], 3000, 1)[0]
    networks = [copy.deepcopy(exact_network).requires_grad_() for _ in range(2)]

    here = gradients(networks[0], batch)
    there = gradients(networks[1].to(GPU), on_device(batch, GPU))

    largest = max(float(one.abs().max()) for one in here.values())
    for name, one in here.items():
        assert torch.allclose(one, there[name], rtol=0, atol=100 * ROUNDING * largest), name


def test_training_learns_and_goes_on(tmp_path, small_network):
    config = TrainingConfig(
        steps=4, batch_points=2000, validate_every=2, network=small_network.config
    )

    Trainer(tmp_path, config, [], [], GPU).train(lambda _: None)
    longer = TrainingConfig(**{**vars(config), "steps": 6})
    trainer = Trainer(tmp_path, longer, [], [], GPU)
    trainer.train(lambda _: None)

    assert trainer.step == 6
    assert load_model(str(tmp_path / RUN_MODEL)).config == small_network.config
