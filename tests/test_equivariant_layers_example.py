"""The example networks follow rotations and reflections, which PyG's own do not."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import LAYER, TURNS, motion

SCRIPT = runpy.run_path(
    str(Path(__file__).parent.parent / "examples" / "equivariant_layers.py"), run_name="example"
)
POINTS = 64

each_network = pytest.mark.parametrize("network", SCRIPT["NETWORKS"], ids=lambda n: n.__name__)


def cloud():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(POINTS, 3)))


def made(network):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return network().double().eval()


def turned(kind):
    return torch.from_numpy(motion(kind, POINTS, np.random.default_rng(1)).matrix)


@pytest.mark.parametrize("kind", TURNS)
@each_network
def test_vectors_turn_with_the_cloud(network, kind):
    vectors_of, layer = SCRIPT["vectors_of"], made(network)
    with torch.no_grad():
        rest, moved = vectors_of(layer, cloud()), vectors_of(layer, cloud() @ turned(kind).T + 3)
    assert rest.shape == (1 if network.__name__ == "PointNet2" else POINTS, 3)
    limit = LAYER * float(rest.abs().max())
    torch.testing.assert_close(moved, rest @ turned(kind).T, rtol=0, atol=limit)


@each_network
def test_without_frames_they_do_not(network):
    layer, turn = made(network), turned("rotation")
    frames = torch.eye(3, dtype=torch.float64).expand(POINTS, 3, 3)
    with torch.no_grad():
        rest, moved = layer(cloud(), frames), layer(cloud() @ turn.T, frames)
    assert (moved - rest @ turn.T).abs().max() > 1e-2 * rest.abs().max()
