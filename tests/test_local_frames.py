from functools import cache

import numpy as np
import pytest
import torch
from helpers import cube, lattice, plane
from torch.autograd import forward_ad, gradcheck

from tfnormals.tensorframes.gram_schmidt import LocalFrames, gram_schmidt
from tfnormals.tensorframes.handedness import mirrored
from tfnormals.tensorframes.local_frames import (
    LearnedFrames,
    RefinedFrames,
    cloud_frames,
    identity_frames,
    pca_frames,
    random_frames,
    random_node_frames,
)

NEIGHBORS = 13
EXACT = {torch.float64: 1e-10, torch.float32: 1e-3}
"""Entries of frames, worst node; float32 decides the frame of a few nodes to 1e-4 only."""


def padded(points, dimension=3):
    """Points of a subspace."""
    return np.pad(points, ((0, 0), (0, dimension - points.shape[1])))


def grid(*counts):
    """A regular grid in as many dimensions as counts, at most three."""
    return lattice(*counts, *[1] * (3 - len(counts)))[:, : len(counts)]


def blob(count, dimension=3):
    return np.random.default_rng(0).normal(size=(count, dimension))


CLOUDS = {
    "cube": lambda: cube(200, np.random.default_rng(0))[0],
    "coplanar": lambda: plane(100, np.random.default_rng(0))[0],
    "grid": lambda: grid(4, 5, 6),
    "cubic grid": lambda: grid(4, 4, 4),
    "flat grid": lambda: padded(grid(6, 7)),
    "line": lambda: padded(blob(20, 1)),
    "regular line": lambda: padded(grid(9)),
    "point": lambda: blob(1),
    "pair": lambda: blob(2),
    "blob": lambda: blob(100),
    "copies": lambda: np.repeat(blob(60), 2, axis=0),
    "blob in 1-D": lambda: blob(20, 1),
    "blob in 2-D": lambda: blob(60, 2),
    "grid in 2-D": lambda: grid(6, 7),
    "line in 2-D": lambda: padded(grid(12), 2),
    "blob in 4-D": lambda: blob(100, 4),
    "flat in 4-D": lambda: padded(blob(80), 4),
}
WHOLE = ("cube", "coplanar", "blob", "blob in 1-D", "blob in 2-D", "blob in 4-D", "flat in 4-D")
each_cloud = pytest.mark.parametrize("cloud", CLOUDS)
each_builder = pytest.mark.parametrize("builder", ["pca", "learned", "cloud"])
each_local_builder = pytest.mark.parametrize("builder", ["pca", "learned"])
each_hand = pytest.mark.parametrize("hand", [1, -1], ids=["rotation", "reflection"])
each_dtype = pytest.mark.parametrize("dtype", EXACT, ids=str)


def points_of(cloud, dtype=torch.float64):
    return torch.from_numpy(CLOUDS[cloud]()).to(dtype)


def nearest(pos, count=NEIGHBORS):
    """Edges from the nearest others, one more than is to count."""
    distances = (pos[:, None] - pos).norm(dim=2).fill_diagonal_(torch.inf)
    found = distances.topk(min(count, len(pos) - 1), largest=False).indices
    receivers = torch.arange(len(pos))[:, None].expand_as(found)
    return torch.stack([found.flatten(), receivers.flatten()])


@cache
def learned(dimension, dtype=torch.float64):
    """Learned frames with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LearnedFrames(1, dimension).to(dtype)


def frames_of(builder, pos, edges=None, batch=None):
    edges = nearest(pos) if edges is None else edges
    if builder == "cloud":
        return cloud_frames(pos, batch)
    if builder == "pca" or pos.shape[1] == 1:
        return pca_frames(pos, edges, batch)
    degrees = torch.bincount(edges[1], minlength=len(pos))[:, None].to(pos.dtype)
    return learned(pos.shape[1], pos.dtype)(pos, edges, degrees / NEIGHBORS, batch)


def orthogonal(dimension, hand, seed=3):
    """A random rotation (hand 1) or improper rotation (-1)."""
    turn = random_node_frames(torch.zeros(1, dimension).double(), a_generator(seed)).matrices
    return (turn if hand > 0 else mirrored(turn))[0]


def a_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def following(matrices, q, hand):
    """What right-handed frames become as q moves the cloud."""
    return (matrices if hand > 0 else mirrored(matrices)) @ q.T


def worst(found, expected, defined):
    """The largest difference of entries among the nodes whose frames are defined."""
    assert torch.equal(found.defined, defined)
    return (found.matrices - expected)[defined].abs().amax().item() if defined.any() else 0.0


@each_cloud
@each_builder
@each_dtype
def test_frames_are_rotations_everywhere(cloud, builder, dtype):
    pos = points_of(cloud, dtype)

    matrices = frames_of(builder, pos).matrices.double()

    unit = torch.eye(pos.shape[1]).double().expand_as(matrices)
    tolerance = 20 * torch.finfo(dtype).eps
    torch.testing.assert_close(matrices @ matrices.mT, unit, rtol=0, atol=tolerance)
    assert (torch.linalg.det(matrices) > 0).all()


@each_cloud
@each_builder
@each_hand
@each_dtype
def test_frames_follow_the_cloud(cloud, builder, hand, dtype):
    pos = points_of(cloud)
    q = orthogonal(pos.shape[1], hand)
    moved = pos @ q.T + (3.0 if dtype is torch.float64 else 0.0)

    matrices, defined = frames_of(builder, pos.to(dtype))
    found = frames_of(builder, moved.to(dtype))

    assert worst(found, following(matrices.double(), q, hand), defined) < EXACT[dtype]


@pytest.mark.parametrize("cloud", WHOLE)
@each_local_builder
def test_every_node_of_an_irregular_cloud_has_a_frame(cloud, builder):
    assert frames_of(builder, points_of(cloud)).defined.all()


@pytest.mark.parametrize("cloud", ["grid", "grid in 2-D"])
def test_inside_a_grid_the_cloud_decides(cloud):
    assert frames_of("learned", points_of(cloud)).defined.all()


@each_local_builder
def test_in_a_flat_grid_only_axes_of_symmetry_are_flagged(builder):
    pos = points_of("flat grid")

    assert torch.equal(frames_of(builder, pos).defined, pos[:, 1] != 3)


@pytest.mark.parametrize("cloud", ["line", "regular line", "point", "pair"])
@each_builder
def test_where_nothing_decides_frames_are_flagged_and_always_the_same(cloud, builder):
    first, again = (frames_of(builder, points_of(cloud)) for _ in range(2))

    assert not first.defined.any()
    assert torch.equal(first.matrices, again.matrices)


@each_local_builder
def test_a_node_on_an_axis_of_symmetry_is_flagged(builder):
    pos = torch.from_numpy(grid(3, 3, 3))

    assert not frames_of(builder, pos).defined[13]


def test_on_a_line_the_first_axis_is_the_line():
    along = frames_of("learned", points_of("line")).matrices[:, 0, 0]

    torch.testing.assert_close(along.abs(), torch.ones_like(along))


@each_hand
@each_local_builder
def test_the_frame_of_an_isolated_node_comes_from_the_cloud(builder, hand):
    pos, q = points_of("blob"), orthogonal(3, hand)
    edges = nearest(pos)
    edges = edges[:, edges[1] != 0]

    matrices, defined = frames_of(builder, pos, edges)
    found = frames_of(builder, pos @ q.T, edges)

    assert defined[0]
    assert worst(found, following(matrices, q, hand), defined) < EXACT[torch.float64]


@each_local_builder
def test_where_neighbours_decide_the_rest_of_the_cloud_does_not_matter(builder):
    pos = points_of("cube")
    edges = nearest(pos)
    away = pos.clone()
    away[0] *= 3

    near = (edges[0] == 0) | (edges[1] == 0)
    untouched = ~torch.isin(torch.arange(len(pos)), edges[:, near])
    same = (
        (frames_of(builder, pos, edges)[0] == frames_of(builder, away, edges)[0]).flatten(1).all(1)
    )

    assert same[untouched].float().mean() > 0.8


@each_builder
@pytest.mark.parametrize("size", [1e-7, 1e6])
def test_the_unit_does_not_matter(builder, size):
    pos = points_of("cube")
    matrices, defined = frames_of(builder, pos)

    found = frames_of(builder, pos * size + 100 * size)

    assert worst(found, matrices, defined) < EXACT[torch.float64]


@each_local_builder
def test_copies_of_a_point_a_rounding_apart_do_not_matter(builder):
    pos = points_of("copies")
    edges = nearest(pos)
    torn = pos + 1e-15 * torch.from_numpy(blob(len(pos)))
    matrices, defined = frames_of(builder, pos, edges)

    assert worst(frames_of(builder, torn, edges), matrices, defined) < EXACT[torch.float64]


@each_builder
def test_a_batch_is_its_clouds(builder):
    clouds = [points_of("cube"), points_of("blob") + 5]
    alone = [frames_of(builder, pos) for pos in clouds]
    edges = torch.cat([nearest(clouds[0]), nearest(clouds[1]) + len(clouds[0])], 1)
    batch = torch.repeat_interleave(torch.arange(2), torch.tensor([len(c) for c in clouds]))

    found = frames_of(builder, torch.cat(clouds), edges, batch)

    expected = torch.cat([frames.matrices for frames in alone])
    assert worst(found, expected, found.defined) < EXACT[torch.float64]
    assert torch.equal(found.defined, torch.cat([frames.defined for frames in alone]))


def before_and_after_exchange(step=1e-9):
    """A cloud as the last neighbour of its first node is exchanged for another."""
    pos = points_of("blob")
    distances = (pos - pos[0]).norm(dim=1)
    last, other = distances.argsort()[NEIGHBORS : NEIGHBORS + 2]
    clouds = []
    for share in (1 - step, 1 + step):
        moved = pos.clone()
        moved[other] = pos[0] + (pos[other] - pos[0]) * share * distances[last] / distances[other]
        clouds.append(moved)
    edges = [nearest(moved) for moved in clouds]
    assert set(edges[0][0, :NEIGHBORS].tolist()) != set(edges[1][0, :NEIGHBORS].tolist())
    return clouds, edges


def jump(builder):
    (before, after), edges = before_and_after_exchange()
    frames = builder(before, edges[0]).matrices, builder(after, edges[1]).matrices
    return (frames[0] - frames[1])[0].abs().max().item()


@each_local_builder
def test_nothing_jumps_when_a_neighbour_is_exchanged(builder):
    assert jump(lambda pos, edges: frames_of(builder, pos, edges)) < 1e-6


def test_without_the_envelope_frames_jump():
    def hard(pos, edges):
        offset = pos[edges[0]] - pos[edges[1]]
        sums = [
            torch.zeros_like(pos).index_add(0, edges[1], offset * offset.norm(dim=1)[:, None] ** a)
            for a in (0, 1)
        ]
        return gram_schmidt(sums)

    assert jump(hard) > 1e-2


@pytest.mark.parametrize(("reach", "jumps"), [(1.0, False), (None, True)])
def test_in_a_radius_graph_the_reach_keeps_frames_from_jumping(reach, jumps):
    pos = points_of("blob") / 2
    distances = (pos - pos[0]).norm(dim=1)
    edge = distances.argsort()[(distances < 1).sum()]
    frames = []
    for share in (1 - 1e-9, 1 + 1e-9):
        moved = pos.clone()
        moved[edge] = pos[0] + (pos[edge] - pos[0]) * share / distances[edge]
        apart = (moved[:, None] - moved).norm(dim=2).fill_diagonal_(torch.inf)
        frames.append(pca_frames(moved, (apart < 1).nonzero().T, reach=reach).matrices[0])

    assert ((frames[0] - frames[1]).abs().max() > 1e-4) == jumps


@pytest.mark.parametrize("cloud", [cloud for cloud in CLOUDS if "1-D" not in cloud])
@each_builder
def test_gradients_are_finite(cloud, builder):
    pos = points_of(cloud).requires_grad_()
    matrices = frames_of(builder, pos, nearest(pos.detach())).matrices

    (matrices * torch.arange(float(pos.shape[1]))).sum().backward()

    assert pos.grad.isfinite().all()


@each_builder
def test_gradients_are_exact(builder):
    pos = points_of("blob")[:20]
    edges = nearest(pos, 6)

    def entries(x):
        return frames_of(builder, x, edges).matrices

    assert gradcheck(entries, pos.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("cloud", ["cube", "grid", "flat grid", "blob in 4-D"])
@each_local_builder
def test_a_small_turn_is_followed_exactly(cloud, builder):
    """Forward derivatives, as Lie derivatives use them, also where eigenvalues tie."""
    pos = points_of(cloud)
    edges = nearest(pos)
    turn = torch.zeros(pos.shape[1], pos.shape[1]).double()
    turn[0, -1], turn[-1, 0] = 1, -1
    defined = frames_of(builder, pos, edges).defined

    with forward_ad.dual_level():
        dual = forward_ad.make_dual(pos, pos @ turn.T)
        matrices, change = forward_ad.unpack_dual(frames_of(builder, dual, edges).matrices)

    error = (change - matrices @ turn.T)[defined].abs().max()
    assert error < 1e-8


@pytest.mark.parametrize("cloud", ["coplanar", "flat in 4-D"])
def test_the_last_pca_axis_is_normal_to_the_plane(cloud):
    pos = points_of(cloud)
    q = orthogonal(pos.shape[1], 1)

    normal = pca_frames(pos @ q.T, nearest(pos)).matrices[:, -1]

    alignment = (normal @ q[:, -1]).abs()
    torch.testing.assert_close(alignment, torch.ones_like(alignment))


def test_learned_weights_are_learned():
    pos, module = points_of("blob"), learned(3)

    module(pos, nearest(pos), pos.new_ones(len(pos), 1)).matrices[:, :, 0].sum().backward()

    assert all(p.grad.abs().max() > 0 for p in module.parameters())


@each_hand
def test_refined_frames_follow_the_cloud_with_the_hand_of_those_given(hand):
    pos, q = points_of("blob"), orthogonal(3, hand)
    module = RefinedFrames(3).double()
    torch.nn.init.normal_(module.angles.weight, generator=a_generator())

    def refined(points):
        """As if reflections were known of: see ``inversion_average``."""
        matrices, defined = pca_frames(points, nearest(points))
        if points is not pos and hand < 0:
            matrices = mirrored(matrices)
        local = (matrices @ (points - points.mean(0))[:, :, None])[:, :, 0]
        return module(LocalFrames(matrices, defined), local)

    matrices, defined = refined(pos)

    assert (matrices - pca_frames(pos, nearest(pos)).matrices).abs().max() > 0.1
    assert worst(refined(pos @ q.T), matrices @ q.T, defined) < EXACT[torch.float64]


@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_refined_frames_begin_as_those_given(dimension):
    frames = random_node_frames(torch.zeros(5, dimension), a_generator())

    found = RefinedFrames(4, dimension)(frames, torch.ones(5, 4))

    torch.testing.assert_close(found.matrices, frames.matrices)


def test_frame_algebra_is_untouched_by_autocast():
    pos = points_of("blob", torch.float32)
    refine = RefinedFrames(3)
    torch.nn.init.normal_(refine.angles.weight, generator=a_generator())

    def entries():
        frames = [frames_of(builder, pos) for builder in ("pca", "learned", "cloud")]
        return torch.stack([f.matrices for f in [*frames, refine(frames[0], pos)]])

    with torch.autocast("cpu", torch.bfloat16):
        found = entries()

    assert torch.equal(found, entries())


def test_identity_frames_are_the_axes_of_space():
    matrices, defined = identity_frames(torch.zeros(3, 4))

    assert torch.equal(matrices, torch.eye(4).expand(3, 4, 4))
    assert defined.all()


def test_random_frames_are_one_for_each_cloud():
    batch = torch.tensor([0, 0, 1, 1, 1])

    matrices = random_frames(torch.zeros(5, 3), a_generator(), batch).matrices

    assert torch.equal(matrices, matrices[[0, 0, 2, 2, 2]])
    assert not torch.allclose(matrices[0], matrices[2])


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_random_node_frames_are_uniform_rotations(dimension):
    matrices = random_node_frames(torch.zeros(4000, dimension).double(), a_generator()).matrices

    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(4000).double())
    if dimension > 1:
        assert matrices.mean(0).abs().max() < 0.06
        torch.testing.assert_close(
            matrices.square().mean(0),
            torch.full((dimension, dimension), 1 / dimension).double(),
            rtol=0,
            atol=0.04,
        )


def test_random_frames_depend_on_the_generator_alone():
    pos = torch.zeros(3, 3)

    first, again, other = (random_frames(pos, a_generator(s)).matrices for s in (0, 0, 1))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("builder", [pca_frames, lambda pos, _: cloud_frames(pos)])
def test_in_one_dimension_there_is_one_frame(builder):
    pos = points_of("blob in 1-D")

    matrices, defined = builder(pos, nearest(pos))

    assert (matrices == 1).all()
    assert defined.all()


@each_builder
def test_arguments_are_not_changed(builder):
    pos = points_of("cube")
    edges = nearest(pos)
    kept = pos.clone(), edges.clone()

    frames_of(builder, pos, edges)

    assert torch.equal(pos, kept[0])
    assert torch.equal(edges, kept[1])
