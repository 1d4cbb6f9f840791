import numpy as np
import pytest
import torch
from helpers import LAYER, ROUNDING, lattice, reflection, rotation
from torch import nn
from torch_geometric.nn import EdgeConv

from tfnormals.tensorframes.convert import make_equivariant
from tfnormals.tensorframes.handedness import inversion_average
from tfnormals.tensorframes.invariants import (
    INVARIANT_NAMES,
    INVARIANT_PARITY,
    POWER_NAMES,
    fusion_invariants,
    moments,
)
from tfnormals.tensorframes.local_frames import LearnedFrames
from tfnormals.tensorframes.reps import Reps

POWER = len(POWER_NAMES)
PARITY = torch.tensor(INVARIANT_PARITY, dtype=torch.float64)
REACH = 1.5


def rng():
    return np.random.default_rng(0)


def invariants(offsets, reach=REACH):
    """Of neighbourhoods (n, k, 3) of one reach, in float64."""
    return fusion_invariants(torch.as_tensor(offsets), torch.full((len(offsets),), float(reach)))


def named(offsets):
    """The invariants of one neighbourhood (k, 3), by name."""
    return dict(zip(INVARIANT_NAMES, invariants(offsets[None])[0].tolist(), strict=True))


def blobs(count=200, k=12):
    """Random neighbourhoods, the point itself first, none of them symmetric."""
    offsets = rng().normal(size=(count, k, 3)) * [0.6, 0.4, 0.2]
    offsets[:, 0] = 0
    return offsets


def ring():
    """Twelve points around a circle."""
    angle = np.arange(12) * np.pi / 6
    return np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)


def dipoles():
    """Six points on two poles and six all around: |A2|^2 is that of the ring."""
    poles = np.repeat([[0.0, 0, 1], [0, 0, -1]], 3, axis=0)
    return np.concatenate([poles, np.eye(3), -np.eye(3)])


def turned(offsets, generator):
    """Each neighbourhood rotated at random on its own."""
    return np.stack([cloud @ rotation(generator).T for cloud in offsets])


def chiral_task(count, generator):
    """Screws of random shape, each with its mirror image: neighbourhoods and labels."""
    turn = np.linspace(0, 4, 12)
    screw = np.stack([0.8 * np.cos(turn) * turn / 4, 0.8 * np.sin(turn), turn / 4 - 0.2], 1)
    screws = screw + generator.normal(scale=0.05, size=(count, 12, 3))
    both = np.concatenate([screws, screws @ reflection(generator).T])
    return turned(both, generator), np.repeat([0.0, 1.0], count)


def ring_task(count, generator):
    """Rings and dipole pairs of random size: neighbourhoods and labels."""
    size = generator.uniform(0.3, 1.3, (count, 1, 1))
    both = np.concatenate([size * ring(), size * dipoles()])
    return turned(both, generator), np.repeat([0.0, 1.0], count)


def fitted(features, labels, steps=80):
    """A tiny network after a few dozen steps, and its loss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(features.shape[1], 16), nn.GELU(), nn.Linear(16, 1))
    network.double()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(steps):
        loss = nn.functional.binary_cross_entropy_with_logits(network(features)[:, 0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network, loss.item()


def accuracy(network, features, labels):
    return ((network(features)[:, 0] > 0) == labels.bool()).double().mean().item()


def test_there_are_seventeen_named_invariants():
    assert invariants(blobs()).shape == (200, 17)
    assert len(INVARIANT_NAMES) == len(INVARIANT_PARITY) == 17
    assert sum(sign < 0 for sign in INVARIANT_PARITY) == 2


@pytest.mark.parametrize("matrix", [rotation(rng()), reflection(rng())], ids=["turn", "mirror"])
def test_rotations_leave_invariants_alone_and_mirrors_flip_pseudoscalars(matrix):
    offsets = blobs()
    expected = invariants(offsets) * (PARITY if np.linalg.det(matrix) < 0 else 1)

    torch.testing.assert_close(invariants(offsets @ matrix.T), expected, rtol=0, atol=ROUNDING)


def test_pseudoscalars_are_there_to_be_flipped():
    assert invariants(blobs())[:, PARITY < 0].abs().median() > 0.01


def test_unit_and_order_and_number_of_neighbors_do_not_matter():
    offsets = blobs()
    twice = np.concatenate([offsets, offsets[:, ::-1]], 1)

    torch.testing.assert_close(
        invariants(1e3 * twice, 1e3 * REACH), invariants(offsets), rtol=0, atol=1e-10
    )


def test_neighbors_beyond_the_reach_count_for_nothing():
    offsets = blobs()
    filled = np.concatenate([offsets, np.full((200, 4, 3), 2 * REACH)], 1)

    torch.testing.assert_close(invariants(filled), invariants(offsets), rtol=0, atol=ROUNDING)


def test_neighbor_enters_without_a_jump():
    offsets = blobs(1)
    edge = np.array([[[0.0, 0.0, REACH]]])
    inside, outside = (np.concatenate([offsets, edge * f], 1) for f in (1 - 1e-6, 1 + 1e-6))

    torch.testing.assert_close(invariants(inside), invariants(outside), rtol=0, atol=1e-9)


def test_moments_of_one_neighbor_have_length_one():
    offsets = torch.tensor([[[0.3, -0.2, 0.5]]], dtype=torch.float64)

    for moment in moments(offsets, offsets.new_ones(1)):
        torch.testing.assert_close(moment.norm(dim=-1), torch.ones(1, 2).double())


def test_moments_are_the_sums_of_the_formula():
    offsets = torch.as_tensor(blobs(1))[:, 1:]
    r = offsets.norm(dim=-1)[0]
    unit, q = offsets[0] / r[:, None], r / REACH
    weights = torch.stack([q**m * (1 - q**2).clamp(min=0) ** 2 for m in (1, 5)])
    weights = weights / weights.sum(1, keepdim=True)

    first, second, _ = moments(offsets, offsets.new_full((1,), REACH))

    torch.testing.assert_close(first.square().sum(-1)[0], (weights @ unit).square().sum(-1))
    traceless = unit[:, :, None] * unit[:, None] - torch.eye(3) / 3
    expected = torch.einsum("ck,kij->cij", weights, traceless).square().sum((-2, -1)) * 3 / 2
    torch.testing.assert_close(second.square().sum(-1)[0], expected)


def test_ring_and_dipoles_differ_in_one_tree_alone():
    one, other = named(ring()), named(dipoles())
    trees = {f"tr A2^3 {shell}" for shell in ("near", "far")}

    assert one["A2.A2 near near"] > 0.1
    assert all(abs(one[name] - other[name]) < ROUNDING for name in one if name not in trees)
    assert all(one[name] == pytest.approx(-other[name]) for name in trees)
    assert all(one[name] < -0.5 for name in trees)


def test_magnitudes_are_comparable():
    typical = invariants(blobs(2000)).square().mean(0).sqrt()

    assert typical.max() < 30 * typical.min()  # plain contractions: 10 000
    assert typical.min() > 0.05
    assert typical.max() < 3


@pytest.mark.parametrize(
    "offsets",
    [
        np.zeros((4, 3)),
        np.zeros((1, 3)),
        np.array([[0.0, 0, 0], [0, 0, 1]]),
        np.concatenate([np.eye(3), -np.eye(3)]),
        ring(),
        lattice(3, 3, 3) - 1,
        np.full((3, 3), 9.0),
    ],
    ids=["one place", "itself", "one neighbor", "all around", "ring", "lattice", "out of reach"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_neighborhood_has_finite_values_and_gradients(offsets, dtype):
    offsets = torch.tensor(offsets[None], dtype=dtype)
    reach = torch.full((1,), 1.8, dtype=dtype)

    parts = torch.autograd.functional.jacobian(fusion_invariants, (offsets, reach))

    assert fusion_invariants(offsets, reach).isfinite().all()
    assert all(part.isfinite().all() and part.abs().max() < 100 for part in parts)


def test_gradient_is_that_of_the_function():
    offsets = torch.as_tensor(blobs(2, 4)[:, 1:]).requires_grad_()
    reach = torch.full((2,), REACH, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(fusion_invariants, (offsets, reach), check_forward_ad=True)


@pytest.mark.parametrize("task", [chiral_task, ring_task], ids=["chirality", "ring or dipoles"])
def test_only_fusion_trees_can_learn_what_the_power_spectrum_cannot_see(task):
    (seen, labels), (unseen, truth) = (task(100, np.random.default_rng(seed)) for seed in (0, 1))
    features, test = invariants(seen), invariants(unseen)
    labels, truth = torch.as_tensor(labels), torch.as_tensor(truth)

    blind, loss = fitted(features[:, :POWER], labels)
    seeing, _ = fitted(features, labels)

    pairs = features[:, :POWER].unflatten(0, (2, 100))
    torch.testing.assert_close(pairs[0], pairs[1], rtol=0, atol=ROUNDING)  # one of each class
    assert loss > np.log(2) - 1e-9  # so no function of them has a smaller one
    assert accuracy(blind, test[:, :POWER], truth) == pytest.approx(0.5, abs=0.02)
    assert accuracy(seeing, test, truth) > 0.95


def vectors(pos, reps):
    """Of a network whose frames and first layer are fed with the invariants, (n, 3)."""
    near = torch.cdist(pos, pos).topk(10, largest=False)
    seen = fusion_invariants(pos[near.indices[:, :9]] - pos[:, None], near.values[:, 9])
    edges = torch.stack([near.indices.flatten(), torch.arange(len(pos)).repeat_interleave(10)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        frames = LearnedFrames(15).double()(pos, edges, seen[:, PARITY > 0])
        layer = EdgeConv(nn.Linear(34, 3)).double()
    first = make_equivariant(layer, reps, "1n")

    def answer(matrices):
        local = first(Reps(reps).transform(seen, matrices), edges, matrices)
        return Reps("1n").transform(local, matrices.mT)

    return inversion_average(answer, frames.matrices)


@pytest.mark.parametrize("matrix", [rotation(rng()), reflection(rng())], ids=["turn", "mirror"])
@torch.no_grad()
def test_frames_and_first_layer_may_be_fed_with_invariants(matrix):
    pos, turn = torch.as_tensor(rng().normal(size=(40, 3))), torch.as_tensor(matrix)

    expected = vectors(pos, "15x0n+2x0p") @ turn.T
    found = vectors(pos @ turn.T, "15x0n+2x0p")
    careless = vectors(pos @ turn.T, "17x0n") - vectors(pos, "17x0n") @ turn.T

    torch.testing.assert_close(found, expected, rtol=0, atol=LAYER)
    assert (careless.abs().max() > 1e-3) == (np.linalg.det(matrix) < 0)
