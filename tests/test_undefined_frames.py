"""Nodes without a frame do not spoil the others."""

import numpy as np
import pytest
import torch
import torch_geometric.nn as pyg
from helpers import LAYER, TURNS, lattice, motion

from tfnormals.tensorframes.anydim import (
    AnyDimConfig,
    AnyDimLevel,
    AnyDimNeighborhoods,
    AnyDimNetwork,
    null_direction,
)
from tfnormals.tensorframes.convert import make_equivariant
from tfnormals.tensorframes.gram_schmidt import LocalFrames
from tfnormals.tensorframes.handedness import inversion_average
from tfnormals.tensorframes.local_frames import LearnedFrames, RefinedFrames, pca_frames
from tfnormals.tensorframes.message_passing import TFMessagePassing
from tfnormals.tensorframes.reps import Reps

HIDDEN = Reps("6x0n+2x0p+4x1n+1x2n+1x2s")
CLOUDS = {
    "flat grid": lambda: lattice(6, 7, 1),
    "cubic grid": lambda: lattice(3, 3, 3),
    "pair": lambda: np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]),
}
"""With nodes on an axis of symmetry: some, all and all."""

each_cloud = pytest.mark.parametrize("cloud", CLOUDS)
each_turn = pytest.mark.parametrize("kind", TURNS)


class Own(TFMessagePassing):
    """A layer that is not converted."""

    def __init__(self, reps):
        super().__init__({"x": reps}, "max")
        self.mlp = torch.nn.Linear(2 * reps.dim + 3, reps.dim)

    def forward(self, x, edge_index, frames, pos):
        return self.propagate(edge_index, frames, x=x, pos=pos)

    def message(self, x_i, x_j, pos_i, pos_j):
        return self.mlp(torch.cat([x_i, x_j, pos_j - pos_i], 1)).tanh()


def network():
    """Three layers: two converted, one with edges that turn, and one of our own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = pyg.GATv2Conv(HIDDEN.dim, HIDDEN.dim, edge_dim=3).double()
        second = pyg.TAGConv(HIDDEN.dim, HIDDEN.dim).double()
        third = Own(HIDDEN).double()
    first = make_equivariant(first, HIDDEN, HIDDEN, {"edge_attr": "1n"})
    return first, make_equivariant(second, HIDDEN, HIDDEN), third


def edges_of(pos, count=8):
    """From the nearest, but the first node has no neighbour."""
    near = torch.cdist(pos, pos).topk(min(count, len(pos)), largest=False).indices[1:]
    receivers = torch.arange(1, len(pos)).repeat_interleave(near.shape[1])
    return torch.stack([near.flatten(), receivers])


def answer(pos, edges, x, matrices):
    """Features of the nodes in global coordinates; x is global, too."""
    first, second, third = network()

    def output(frames):
        local = HIDDEN.transform(x, frames)
        local = first(local, edges, frames, edge_attr=pos[edges[0]] - pos[edges[1]])
        local = third(second(local.relu(), edges, frames).relu(), edges, frames, pos)
        return HIDDEN.transform(local, frames.mT)

    return inversion_average(output, matrices)


def error(cloud, kind, matrices_of):
    """How far the answer for a turned cloud is from the turned answer: the worst number."""
    pos = torch.from_numpy(CLOUDS[cloud]())
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(len(pos), HIDDEN.dim)))
    turn = torch.from_numpy(motion(kind, 1, np.random.default_rng(1)).matrix)
    edges = edges_of(pos)
    rest, moved = (
        answer(p, edges, y, matrices_of(pca_frames(p, edges)))
        for p, y in ((pos, x), (pos @ turn.T, HIDDEN.transform(x, turn)))
    )
    assert rest.abs().max() > 0.1
    return (moved - HIDDEN.transform(rest, turn)).abs().max().item()


@each_turn
@each_cloud
@torch.no_grad()
def test_a_network_is_exact_where_some_nodes_have_no_frame(cloud, kind):
    assert error(cloud, kind, lambda frames: frames.where_defined) < LAYER


@each_turn
@each_cloud
@torch.no_grad()
def test_with_frames_that_mean_nothing_it_is_not(cloud, kind):
    assert error(cloud, kind, lambda frames: frames.matrices) > 1e-2


@torch.no_grad()
def test_only_nodes_without_a_frame_answer_with_scalars_alone():
    pos = torch.from_numpy(CLOUDS["flat grid"]())
    edges = edges_of(pos)
    frames = pca_frames(pos, edges)
    x = torch.ones(len(pos), HIDDEN.dim, dtype=pos.dtype)

    found = answer(pos, edges, x, frames.where_defined)[1:]  # the first hears nothing

    scalars, tensors = (part.abs().amax(1) > 0 for part in found.tensor_split([6], 1))
    assert scalars.all()
    assert torch.equal(tensors, frames.defined[1:])
    assert not tensors.all()


def test_defined_frames_are_kept_and_others_are_zero():
    frames = LocalFrames(torch.randn(3, 4, 4), torch.tensor([True, False, True]))

    found = frames.where_defined

    assert torch.equal(found[::2], frames.matrices[::2])
    assert not found[1].any()


def test_gradients_are_finite_where_no_frame_is_defined():
    pos = torch.from_numpy(CLOUDS["flat grid"]()).requires_grad_()
    edges = edges_of(pos.detach())
    learned, refined = LearnedFrames(1).double(), RefinedFrames(2).double()
    frames = learned(pos, edges, pos.new_ones(len(pos), 1))
    frames = refined(frames, pos.new_ones(len(pos), 2))
    x = torch.ones(len(pos), HIDDEN.dim, dtype=pos.dtype)

    answer(pos, edges, x, frames.where_defined).square().sum().backward()

    given = [pos, *learned.parameters(), *refined.parameters()]
    assert not frames.defined.all()
    assert all(value.grad.isfinite().all() for value in given)


def lines_without_frames(pos):
    """Lines of a network that needs no frames, and how clear they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        frameless = AnyDimNetwork(AnyDimConfig(1, scalars=4, vectors=2, hidden=8)).double()
    near = torch.cdist(pos, pos)
    rows = torch.arange(len(pos)).expand(len(pos), -1)  # all hear all, so nothing is tied
    offsets = (pos - pos[:, None]).permute(2, 1, 0) / near.mean()
    heard = AnyDimNeighborhoods(rows.T, offsets, (-near / near.mean()).exp())
    unused = rows[:0]
    level = AnyDimLevel(heard, unused[0:0, 0], unused, unused.double())
    return null_direction(frameless([level]).tensor)


@each_turn
@torch.no_grad()
def test_a_network_without_frames_stands_in_where_there_is_none(kind):
    pos = torch.from_numpy(CLOUDS["flat grid"]())
    missing = ~pca_frames(pos, edges_of(pos)).defined[1:]  # the first hears nothing
    turn = torch.from_numpy(motion(kind, 1, np.random.default_rng(1)).matrix)

    (lines, gap), (turned, _) = lines_without_frames(pos), lines_without_frames(pos @ turn.T)

    assert missing.any()
    assert gap[1:][missing].min() > 0.01
    found, expected = turned[1:][missing], (lines @ turn.T)[1:][missing]
    assert ((found * expected).sum(1).abs() - 1).abs().max() < LAYER
