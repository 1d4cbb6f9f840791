import copy

import numpy as np
import pytest
import torch
import trimesh
from helpers import ROUNDING, plane, sphere, torus

from tfnormals.data.batches import (
    CLOUD_POINTS,
    Batch,
    TrainingBatches,
    joined,
    kind_shares,
    validation_clouds,
)
from tfnormals.data.sampling import COMPLETE_WEIGHT, PARTIAL_WEIGHT, UNDECIDABLE_WEIGHT
from tfnormals.data.sources import LabelledCloud
from tfnormals.data.surfaces import closed_surface
from tfnormals.graph import LEVELS, build_graph
from tfnormals.tensorframes.layers import measured


def surface(mesh):
    return closed_surface("shape", mesh.vertices, mesh.faces)


def ball():
    return surface(trimesh.creation.icosphere(3, radius=40.0))


def cloud(shape, count, weight=1.0):
    """A batch of one clean cloud."""
    points, normals = shape(count, np.random.default_rng(count))
    graph = build_graph(points)
    return Batch(
        graph.levels,
        torch.from_numpy(normals[graph.order]),
        torch.full((len(graph.order),), weight),
        (len(graph.order),),
    )


def tensors(batch):
    """All tensors of a batch, edges with envelopes instead of their logarithms."""
    found = [batch.normals, batch.side_weight]
    for level in batch.levels:
        near = measured(level.receivers)
        near.edges[5].exp_()
        found += [*near, *level[1:]]
    return found


def assert_same_bits(one, other):
    for a, b in zip(tensors(one), tensors(other), strict=True):
        assert torch.equal(a, b)


@pytest.fixture(scope="module")
def batches():
    """Some batches of a dataset of balls and procedural solids."""
    dataset = TrainingBatches([ball()], 4000, seed=2)
    return [dataset[step] for step in range(6)]


PARTS = (torus, 300), (plane, 17), (sphere, 80)


def test_clouds_joined_get_what_they_get_alone(exact_network):
    clouds = [cloud(*part) for part in PARTS]
    batch = joined(clouds)

    together = exact_network(batch.levels)
    alone = [exact_network(one.levels) for one in clouds]

    for whole, *parts in zip(rows(together), *map(rows, alone), strict=True):
        torch.testing.assert_close(whole, torch.cat(parts), rtol=0, atol=ROUNDING)


def rows(prediction):
    """What a prediction says of each point, points first."""
    (lines, doubt), side, context = prediction
    return [lines.T, doubt, side.T, context]


def test_joining_keeps_truth_and_weights():
    clouds = [cloud(torus, 100, 1.0), cloud(sphere, 50, 0.2)]

    batch = joined(clouds)

    assert torch.equal(batch.normals, torch.cat([one.normals for one in clouds]))
    assert batch.lengths == (100, 50)
    assert batch.side_weight.tolist() == [1.0] * 100 + [clouds[1].side_weight[0].item()] * 50


def test_one_cloud_joined_is_itself():
    alone = cloud(torus, 200)

    for one, other in zip(tensors(joined([alone])), tensors(alone), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=ROUNDING)


def test_joining_changes_no_cloud():
    clouds = [cloud(*part) for part in PARTS]
    before = copy.deepcopy(clouds)

    joined(clouds)

    for one, other in zip(clouds, before, strict=True):
        assert_same_bits(one, other)


def test_a_batch_is_a_function_of_seed_and_step(batches):
    again = TrainingBatches([ball()], 4000, seed=2)

    assert_same_bits(again[3], batches[3])
    assert_same_bits(again[0], batches[0])


@pytest.mark.parametrize("parts", [2, 3])
def test_the_parts_of_a_batch_hold_each_of_its_clouds_once(parts):
    whole = TrainingBatches([ball()], 10_000, seed=2)[5]
    some = [TrainingBatches([ball()], 10_000, 2, part, parts)[5] for part in range(parts)]

    assert len(whole.lengths) == 3
    truth = whole.normals.split(whole.lengths)
    for part, one in enumerate(some):
        assert torch.equal(one.normals, torch.cat(truth[part::parts]))
        assert one.share == len(one.normals) / len(whole.normals)


def test_a_part_left_without_clouds_repeats_the_first_for_nothing():
    whole = TrainingBatches([ball()], 1000, seed=2)[0]

    last = TrainingBatches([ball()], 1000, seed=2, part=1, parts=2)[0]

    assert len(whole.lengths) == 1
    assert_same_bits(last, whole)
    assert (whole.share, last.share) == (1, 0)


@pytest.mark.parametrize(("seed", "step"), [(2, 1), (1, 0)])
def test_other_seeds_and_steps_give_other_batches(seed, step, batches):
    other = TrainingBatches([ball()], 4000, seed=seed)[step]

    assert len(other.normals) != len(batches[0].normals) or not torch.equal(
        other.normals, batches[0].normals
    )


def test_a_batch_is_drawn_without_global_random_numbers():
    state, drawn = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002

    TrainingBatches([], 1000, seed=0)[5]

    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], drawn)  # noqa: NPY002


def test_batches_are_of_about_the_wanted_size(batches):
    for batch in batches:
        count = len(batch.normals)
        assert len(batch.side_weight) == batch.levels[0].receivers.neighbors.shape[1] == count
        assert CLOUD_POINTS[0] / 2 <= count <= CLOUD_POINTS[-1]


def test_larger_batches_are_of_more_draws():
    small, large = (TrainingBatches([], points, seed=0) for points in (8192, 65_536))
    rng = np.random.default_rng(0)
    draws = [np.mean([sum(b.sizes(rng)) for _ in range(400)]) for b in (small, large)]
    sizes = large.sizes(rng)

    assert 6 < draws[1] / draws[0] < 10
    assert len(set(sizes)) > 4
    assert all(CLOUD_POINTS[0] <= size <= CLOUD_POINTS[-1] for size in sizes)


def test_several_weights_occur(batches):
    weights = set(torch.cat([batch.side_weight for batch in batches]).unique().tolist())
    possible = torch.tensor([UNDECIDABLE_WEIGHT, PARTIAL_WEIGHT, COMPLETE_WEIGHT]).tolist()

    assert weights <= set(possible)
    assert len(weights) > 1


def test_every_row_number_is_within_its_level(batches):
    for batch in batches:
        assert len(batch.levels) == LEVELS
        sizes = [len(level.receivers.moments) for level in batch.levels]
        for level, size, coarser in zip(batch.levels, sizes, [*sizes[1:], 0], strict=True):
            assert 0 <= level.receivers.neighbors.min() <= level.receivers.neighbors.max() < size
            assert torch.equal(level.receivers.neighbors[0], torch.arange(size))
            assert len(level.sampled) == coarser
            if coarser:
                assert level.sampled.max() < size
                assert 0 <= level.parents.min() <= level.parents.max() < coarser


def test_batches_are_finite_float32_and_their_normals_unit(batches):
    for batch in batches:
        for tensor in tensors(batch):
            assert tensor.dtype in (torch.float32, torch.int32, torch.int64)
            assert torch.isfinite(tensor).all()
        lengths = batch.normals.norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=1e-5)


def test_a_network_runs_on_a_batch(batches, small_network):
    for part in rows(small_network(batches[0].levels)):
        assert torch.isfinite(part).all()


def labelled():
    """A large cloud whose normals are known, in millimetres."""
    points, normals = torus(30_000, np.random.default_rng(0))
    return LabelledCloud("ring", 1e3 * points + 500, normals)


@pytest.mark.parametrize(
    "source", [surface(trimesh.creation.box((3, 2, 1))), labelled()], ids=["surface", "cloud"]
)
def test_normals_belong_to_their_points(source):
    """The third axis of a frame is close to the true normal where noise is small."""
    sines = []
    for one in validation_clouds([source] * 8, 16, 2000)[::2]:
        axes = one.levels[0].receivers.frames[2].T
        sines.append(float(torch.linalg.cross(axes, one.normals).norm(dim=1).median()))

    assert min(sines) < 0.2


def evenness(batch):
    """Spread of the distances to the nearest neighbour, relative to their mean."""
    edges = batch.levels[0].receivers.edges[3, 1]
    return float(edges.std() / edges.mean())


def test_some_clouds_are_evenly_spaced_as_an_overview_is(monkeypatch):
    source = LabelledCloud("ball", *sphere(20_000, np.random.default_rng(0)))
    monkeypatch.setattr("tfnormals.data.batches.drawn_sizes", lambda points, rng: [1000])
    monkeypatch.setattr("tfnormals.data.batches.PROCEDURAL_SHARE", 0.0)
    spread = [evenness(TrainingBatches([source], 1000, seed=3)[step]) for step in range(40)]
    share = np.mean(np.array(spread) < 0.3)

    assert 0.1 < share < 0.4


def test_validation_clouds_are_the_same_in_every_run():
    one, other = (validation_clouds([ball()], 3, 500) for _ in range(2))

    assert len(one) == 3
    for a, b in zip(one, other, strict=True):
        assert_same_bits(a, b)


def test_held_out_surfaces_take_turns_with_procedural_ones():
    procedural, mixed = (validation_clouds(s, 4, 500) for s in ([], [ball()] * 9))

    same = [
        len(a.normals) == len(b.normals) and torch.equal(a.normals, b.normals)
        for a, b in zip(procedural, mixed, strict=True)
    ]

    assert len(mixed) == 4
    assert not same[0]
    assert not same[2]


def test_kinds_of_sources_are_balanced():
    names = [f"block__{i}" for i in range(16)] + ["dir/body__0", "dir/body__1", "other", "b"]

    shares = kind_shares(names)

    assert shares.sum() == pytest.approx(1)
    sums = [shares[:16].sum(), shares[16:18].sum(), shares[18:].sum()]
    assert sums == pytest.approx(np.array([4, 2**0.5, 2**0.5]) / (4 + 2 * 2**0.5))


def test_sources_without_kinds_are_drawn_alike():
    assert kind_shares(["a", "b", "c"]).tolist() == pytest.approx([1 / 3] * 3)
