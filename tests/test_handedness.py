import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import LAYER, ROUNDING, lattice, plane, reflection, rotation

from tfnormals.tensorframes.handedness import (
    HandedLinear,
    exchange,
    inversion_average,
    mirrored,
)
from tfnormals.tensorframes.local_frames import pca_frames

_script = Path(__file__).parents[1] / "benchmarks" / "handedness.py"
_spec = importlib.util.spec_from_file_location("handedness_benchmark", _script)
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)

CLOUDS = {
    "cube": lambda: benchmark.cube(300),
    "coplanar": lambda: torch.from_numpy(plane(150, np.random.default_rng(0))[0]),
    "grid": lambda: torch.from_numpy(lattice(4, 6, 8)),
    "blob": lambda: torch.from_numpy(np.random.default_rng(0).normal(size=(200, 3))),
}
each_cloud = pytest.mark.parametrize("cloud", CLOUDS)
each_turn = pytest.mark.parametrize("turn", [rotation, reflection])
each_exact_way = pytest.mark.parametrize("way", ["average", "one pass"])


def network(way):
    """Random weights, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return benchmark.Network(width=16, layers=2, handed=way == "one pass").double()


def right_handed(cloud):
    return pca_frames(cloud.pos, cloud.edge_index).matrices


def hard_sign(cloud):
    """O(3) frames of a known implementation: the third axis goes along a third vector."""
    matrices = right_handed(cloud).clone()
    offset = cloud.pos[cloud.neighbors] - cloud.pos[:, None]
    squared = offset.square().sum(2, keepdim=True)
    third = (offset * (1 - (squared / squared.amax(1, keepdim=True)) ** 3)).sum(1)
    matrices[:, 2] *= torch.where((matrices[:, 2] * third).sum(1) < 0, -1.0, 1.0)[:, None]
    return matrices


def wrong(cloud, turn, way, frames=right_handed):
    """At which points (n,) the vectors do not follow the cloud."""
    pos, q = CLOUDS[cloud](), torch.from_numpy(turn(np.random.default_rng(1)))
    with torch.no_grad():
        expected, found = (
            benchmark.vectors(network(way), near, frames(near), way == "average")
            for near in map(benchmark.cloud_of, (pos, pos @ q.T))
        )
    error = (found - expected @ q.T).norm(dim=1)
    return error > 1e-10 * expected.norm(dim=1).mean()


@each_cloud
@each_turn
@each_exact_way
def test_a_whole_network_follows_the_cloud(cloud, turn, way):
    assert not wrong(cloud, turn, way).any()


@pytest.mark.parametrize("cloud", ["cube", "coplanar", "blob"])
def test_one_handedness_follows_rotations_but_no_reflection(cloud):
    assert not wrong(cloud, rotation, "right-handed").any()
    assert wrong(cloud, reflection, "right-handed").all()


@pytest.mark.parametrize("cloud", ["cube", "coplanar"])
@each_turn
def test_a_hard_sign_of_the_third_axis_fails_on_flat_faces(cloud, turn):
    assert wrong(cloud, turn, "right-handed", hard_sign).float().mean() > 0.1


def test_a_hard_sign_passes_where_nothing_is_flat():
    assert not wrong("blob", reflection, "right-handed", hard_sign).any()


def test_mirrored_frames_turn_the_last_axis():
    matrices = right_handed(benchmark.cloud_of(benchmark.cube(50)))
    kept = matrices.clone()

    other = mirrored(matrices)

    assert torch.equal(other[:, :2], matrices[:, :2])
    assert torch.equal(other[:, 2], -matrices[:, 2])
    assert torch.equal(matrices, kept)


def test_the_average_forgets_the_hand():
    matrices = right_handed(benchmark.cloud_of(benchmark.cube(50)))

    def function(frames):
        return frames.exp().sum(1)

    torch.testing.assert_close(
        inversion_average(function, matrices), inversion_average(function, mirrored(matrices))
    )


VECTOR = torch.diag(torch.tensor([1.0, 1.0, -1.0]).double())
ACTIONS = {
    "seen to hidden": (VECTOR, exchange(4).double()),
    "hidden to hidden": (exchange(4).double(), exchange(3).double()),
    "hidden to seen": (exchange(4).double(), torch.block_diag(VECTOR, exchange(2))),
}
each_action = pytest.mark.parametrize("action", ACTIONS)


@each_action
def test_linear_layers_commute_with_mirroring(action):
    inputs, outputs = ACTIONS[action]
    layer = HandedLinear(inputs, outputs).double()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 2, len(inputs))))

    torch.testing.assert_close(layer(x @ inputs), layer(x) @ outputs, rtol=0, atol=ROUNDING)


@each_action
def test_linear_layers_reach_every_commuting_map(action):
    inputs, outputs = ACTIONS[action]
    layer = HandedLinear(inputs, outputs).double()
    any_map = torch.from_numpy(np.random.default_rng(0).normal(size=(len(outputs), len(inputs))))
    wanted = any_map + outputs @ any_map @ inputs
    with torch.no_grad():
        layer.free.weight.copy_(wanted / 2**0.5)
        layer.free.bias.zero_()

    found = layer(torch.eye(len(inputs)).double()).T

    torch.testing.assert_close(found, wanted, rtol=0, atol=ROUNDING)


def test_linear_layers_begin_with_outputs_as_large_as_those_of_a_plain_one():
    action = exchange(100)
    x = torch.randn(1000, 200, generator=torch.Generator().manual_seed(0))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        handed, plain = HandedLinear(action, action)(x).std(), torch.nn.Linear(200, 200)(x).std()

    assert abs(handed / plain - 1) < 0.1


def test_halves_kept_apart_are_the_inversion_average():
    """The one pass holds the average of a plain network as a special case."""
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.randn(*shape, generator=generator).double() for shape in ((4, 3), (3, 4))
    )
    lift, read = (HandedLinear(*ACTIONS[a]).double() for a in ("seen to hidden", "hidden to seen"))
    with torch.no_grad():
        lift.free.bias.zero_()
        lift.free.weight.copy_(torch.cat([first, 0 * first]) * 2**0.5)
        read.free.bias.zero_()
        read.free.weight.zero_()
        read.free.weight[:3] = torch.cat([second, 0 * second], 1) * 2**0.5
    vectors = torch.randn(7, 3, generator=generator).double()
    matrices = right_handed(benchmark.cloud_of(benchmark.cube(50)))[:7]
    local = (matrices @ vectors[:, :, None])[:, :, 0]

    def plain(frames):
        seen = (frames @ vectors[:, :, None])[:, :, 0]
        answer = torch.tanh(seen @ first.T) @ second.T
        return (frames.mT @ answer[:, :, None])[:, :, 0]

    both = read(torch.tanh(lift(local)))[:, :3] / 2

    expected = (matrices @ inversion_average(plain, matrices)[:, :, None])[:, :, 0]
    torch.testing.assert_close(both, expected, rtol=0, atol=LAYER)


def test_a_plain_linear_layer_does_not_commute():
    inputs, outputs = ACTIONS["seen to hidden"]
    layer = torch.nn.Linear(len(inputs), len(outputs)).double()
    x = torch.ones(1, 3).double()

    assert (layer(x @ inputs) - layer(x) @ outputs).abs().max() > 0.1


def test_the_benchmark_reports_every_way(capsys, monkeypatch):
    arguments = ["--points", "100", "--width", "8", "--layers", "1", "--repeats", "1"]
    monkeypatch.setattr("sys.argv", ["handedness.py", *arguments])

    benchmark.main()

    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "right-handed frames only",
        "inversion average",
        "both hands in one pass",
    ]
    assert [line.split()[-5] for line in lines[2:]] == ["100.0", "0.0", "0.0"]
