import copy

import numpy as np
import pytest
import torch
from helpers import (
    EXACT_DEG,
    FLOAT32_MEDIAN_DEG,
    LAYER,
    MOTIONS,
    ROUNDING,
    TURNS,
    assert_equivariant,
    cloud,
    cube,
    motion,
    one_hand_only,
    plane,
    sphere,
    torus,
)

from tfnormals.graph import build_graph
from tfnormals.metrics import angle_deg
from tfnormals.network import TensorFramesPointNet, measured_levels

SHAPES = {"cube": cube, "sphere": sphere, "torus": torus}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def tensors(points, dtype=torch.float64):
    return build_graph(points, dtype).levels


def answered(network, points):
    """The network's answer for every row of the points."""
    graph = build_graph(points, network.stem.weight.dtype)
    answer = network.answer(graph.levels)
    return [part.double().numpy()[graph.inverse] for part in answer]


def predicted(network, points):
    """The network's prediction for every row of the points, (n, 7)."""
    graph = build_graph(points)
    return columns(network(graph.levels))[graph.inverse]


def columns(prediction):
    (lines, doubt), side, _ = prediction
    return torch.cat([lines, side, doubt[None]]).T.numpy()


@each_shape
@pytest.mark.parametrize("kind", MOTIONS)
def test_the_answer_follows_the_cloud(shape, kind, exact_network):
    points = cloud(shape)
    moved = motion(kind, len(points), np.random.default_rng(0))

    normals, logit, error = answered(exact_network, points)
    moved_normals, moved_logit, moved_error = answered(exact_network, moved.points(points))

    assert angle_deg(moved_normals, moved.normals(normals)).max() < EXACT_DEG
    np.testing.assert_allclose(moved_logit, logit[moved.order], atol=LAYER)
    np.testing.assert_allclose(moved_error, error[moved.order], atol=LAYER)


@each_shape
@pytest.mark.parametrize("kind", TURNS)
def test_float32_answers_follow_the_cloud(shape, kind, small_network):
    points = cloud(shape)
    moved = motion(kind, len(points), np.random.default_rng(0))

    rest, other = (answered(small_network, p)[0] for p in (points, moved.points(points)))

    assert np.median(angle_deg(other, moved.normals(rest))) < FLOAT32_MEDIAN_DEG


@pytest.mark.parametrize("kind", TURNS)
def test_a_network_with_a_direction_of_its_own_is_found_out(kind, exact_network):
    def biased(points):
        return answered(exact_network, points)[0] + [0, 0, 1e-6]

    with pytest.raises(AssertionError, match="degrees at point"):
        assert_equivariant(biased, cloud(cube), kind, EXACT_DEG)


def test_one_handedness_alone_does_not_follow_mirror_images(exact_network, monkeypatch):
    """The control of the tests above: averaging both is what makes them pass."""
    one_hand_only(monkeypatch)

    with pytest.raises(AssertionError, match="degrees at point"):
        assert_equivariant(
            lambda points: answered(exact_network, points)[0],
            cloud(cube),
            "reflection",
            EXACT_DEG,
        )


@pytest.mark.parametrize("kind", TURNS)
def test_a_flat_cloud_gives_its_normal_or_a_direction_within_it(kind, exact_network):
    points = cloud(plane)
    moved = motion(kind, len(points), np.random.default_rng(0))

    normals, logit, _ = answered(exact_network, moved.points(points))

    along = np.abs(normals @ moved.matrix[:, 2])
    assert np.minimum(along, 1 - along).max() < LAYER
    np.testing.assert_allclose(logit[along > 0.5], 0, atol=LAYER)


@pytest.mark.parametrize("count", [17, 18, 68, 69, 1000, 5000])
def test_any_number_of_points_gets_an_answer(count, small_network):
    normals, logit, error = answered(small_network, cloud(count=count))

    assert normals.shape == (count, 3)
    assert logit.shape == error.shape == (count,)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert (logit >= 0).all()
    assert (error > 0).all()
    assert (error < 1).all()


def test_the_same_cloud_gives_the_same_bits(small_network):
    for one, other in zip(
        answered(small_network, cloud()), answered(small_network, cloud()), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_the_whole_pyramid_compiles_without_graph_breaks(exact_network):
    compiled = torch.compile(exact_network, backend="eager", fullgraph=True)

    found, expected = (one(tensors(cloud())) for one in (compiled, exact_network))

    torch.testing.assert_close(found.side, expected.side, rtol=0, atol=ROUNDING)


def test_levels_are_not_changed(exact_network):
    levels, untouched = tensors(cloud()), tensors(cloud())

    exact_network.answer(levels)

    for one, other in zip(levels, untouched, strict=True):
        for a, b in zip((*one.receivers, *one[1:]), (*other.receivers, *other[1:]), strict=True):
            assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))


def test_gradients_reach_every_parameter(exact_network):
    network = copy.deepcopy(exact_network).requires_grad_()

    levels = tensors(cloud())
    prediction = network(levels)
    for voting in network.voting:  # starts at zero, where it passes nothing on
        torch.nn.init.normal_(voting.weigh.weight)
        torch.nn.init.normal_(voting.doubt[2].weight)
    lines, doubt = network.voted(prediction, levels)[-1]
    (lines[0].sum() + doubt.square().sum() + prediction.side.square().sum()).backward()

    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_dense_clouds_get_the_last_round_of_votes_once_more(exact_network, monkeypatch):
    levels = tensors(cloud())
    prediction = exact_network(levels)
    usual = exact_network.voted(prediction, levels)[-1]
    again = exact_network.voting[-1](usual, prediction.context, levels[0].receivers)
    count = len(usual.doubt)

    for dense, expected in ((count, usual), (count - 1, again)):
        monkeypatch.setattr("tfnormals.network.DENSE", dense)
        answer = exact_network.answer(levels)
        torch.testing.assert_close(
            (answer.normals * expected.lines.T).sum(1).abs(),
            torch.ones(count, dtype=torch.float64),
        )
        torch.testing.assert_close(answer.error, expected.doubt.sigmoid())
    assert (usual.doubt - again.doubt).abs().max() > 1e-3


def test_progress_counts_up_to_the_end(small_network):
    seen = []

    small_network.answer(
        tensors(cloud(), torch.float32), lambda done, total: seen.append((done, total))
    )

    total = seen[-1][1]
    assert seen == [(done, total) for done in range(1, total + 1)]


def test_the_default_network_runs():
    with torch.random.fork_rng(devices=[]):
        network = TensorFramesPointNet().eval().requires_grad_(requires_grad=False)

    assert np.isfinite(answered(network, cloud())[0]).all()


def neighborhoods(points):
    """The neighbours of each row; of so few points, on every level the same."""
    graph = build_graph(points)
    rows = graph.order[graph.levels[0].receivers.neighbors.numpy()].T
    return {int(row[0]): frozenset(row.tolist()) for row in rows}


def exchange(seed):
    """Two clouds that differ by next to nothing, between which a last neighbour is exchanged."""
    rng = np.random.default_rng(seed)
    rest, step = torus(17, rng)[0], np.zeros((17, 3))
    step[5] = rng.normal(size=3) * 0.3
    before = neighborhoods(rest)
    low, high = 0.0, 1.0
    for _ in range(45):
        middle = (low + high) / 2
        same = neighborhoods(rest + middle * step) == before
        low, high = (middle, high) if same else (low, middle)
    assert neighborhoods(rest + low * step) != neighborhoods(rest + high * step)
    return rest + low * step, rest + high * step


def without_envelope(network, points):
    graph = build_graph(points)
    levels = measured_levels(graph.levels)
    for level in levels:
        level.receivers.edges[5] = 0
    return columns(network(levels))[graph.inverse]


@pytest.mark.parametrize("seed", [2, 9])
def test_exchanging_a_neighbour_does_not_make_the_output_jump(seed, exact_network):
    one, other = exchange(seed)

    jump = predicted(exact_network, one) - predicted(exact_network, other)
    hard = without_envelope(exact_network, one) - without_envelope(exact_network, other)

    # Ranks are decided on rounded coordinates, so the exchange is not quite at equal distances.
    assert np.abs(jump).max() < 1e-6
    assert np.abs(hard).max() > 100 * np.abs(jump).max()


def test_a_small_change_of_one_point_changes_the_output_a_little(exact_network):
    points = torus(17, np.random.default_rng(0))[0]
    nudge = np.zeros((17, 3))
    nudge[5] = [1e-7, -1e-7, 1e-7]

    change = predicted(exact_network, points + nudge) - predicted(exact_network, points)

    assert 0 < np.abs(change).max() < 1e-6
