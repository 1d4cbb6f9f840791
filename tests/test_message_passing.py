import numpy as np
import pytest
import torch
from helpers import LAYER, ROUNDING, TURNS, motion, rotation
from torch import nn
from torch_geometric.nn import EdgeConv
from torch_geometric.utils import softmax

from tfnormals.tensorframes import EdgeLayer, Features, Neighborhoods, inversion_average
from tfnormals.tensorframes.convert import make_equivariant
from tfnormals.tensorframes.message_passing import TFMessagePassing
from tfnormals.tensorframes.reps import Reps

NODES, EDGES = 15, 60
REPS, EDGE_REPS = Reps("3x0n+2x1n+1x1p"), Reps("1x0n+1x2s")

each_turn = pytest.mark.parametrize("kind", TURNS)


class Attention(TFMessagePassing):
    """Everything that a layer may ask for: attention, features of edges, positions, heads."""

    def __init__(self):
        super().__init__({"x": REPS, "heads": Reps("1n"), "edge_attr": EDGE_REPS})
        self.logit = nn.Linear(2 * REPS.dim + EDGE_REPS.dim, 2)
        self.value = nn.Linear(REPS.dim + 3 + 3, 2 * REPS.dim)

    def forward(self, x, heads, pos, edge_index, frames, edge_attr):
        alpha = self.edge_updater(edge_index, frames, x=x, edge_attr=edge_attr)
        given = {"x": x, "heads": heads, "pos": pos, "alpha": alpha}
        return self.propagate(edge_index, frames, **given).mean(1)

    def edge_update(self, x_i, x_j, edge_attr, index, size_i):
        return softmax(self.logit(torch.cat([x_i, x_j, edge_attr], 1)), index, num_nodes=size_i)

    def message(self, x_j, heads_j, pos_i, pos_j, alpha):
        seen = torch.cat([x_j, heads_j.sum(1), pos_j - pos_i], 1)
        return alpha[..., None] * self.value(seen).unflatten(1, (2, REPS.dim))


class EdgeConvolution(TFMessagePassing):
    def __init__(self, mlp, aggr):
        super().__init__({"x": REPS}, aggr)
        self.mlp = mlp

    def forward(self, x, edge_index, frames):
        return self.propagate(edge_index, frames, x=x)

    def message(self, x_i, x_j):
        return self.mlp(torch.cat([x_i, x_j - x_i], 1))


def some(*shape, seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def made(layer, *arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return layer(*arguments).double()


def edge_index():
    return torch.from_numpy(np.random.default_rng(0).integers(NODES, size=(2, EDGES)))


def frames_of(nodes):
    return torch.from_numpy(np.linalg.qr(np.random.default_rng(1).normal(size=(nodes, 3, 3)))[0])


def attention_in(turn):
    """What a layer makes, in global coordinates, of a random world turned by a matrix."""
    frames = frames_of(NODES) @ turn.T
    x = REPS.transform(REPS.transform(some(NODES, REPS.dim, seed=2), turn), frames)
    heads = some(NODES, 4, 3, seed=3) @ turn.T @ frames.mT
    pos = some(NODES, 3, seed=4) @ turn.T + 100 * turn[0]
    edge_attr = EDGE_REPS.transform(some(EDGES, EDGE_REPS.dim, seed=5), turn)
    local = made(Attention)(x, heads, pos, edge_index(), frames, edge_attr)
    return REPS.transform(local, frames.mT)


@each_turn
def test_output_turns_with_the_world(kind):
    turn = torch.from_numpy(motion(kind, 1, np.random.default_rng(6)).matrix)
    rest = attention_in(torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(attention_in(turn), REPS.transform(rest, turn), rtol=0, atol=LAYER)


@pytest.mark.parametrize("aggr", ["max", "mean", ["sum", "max"]], ids=str)
def test_a_layer_of_ones_own_equals_the_converted_one(aggr):
    mlp = made(nn.Linear, 2 * REPS.dim, REPS.dim)
    frames, x = frames_of(NODES), some(NODES, REPS.dim, seed=2)
    out = Reps([*REPS] * (2 if isinstance(aggr, list) else 1))
    converted = make_equivariant(EdgeConv(mlp, aggr), REPS, out)  # draws the weights anew
    own = EdgeConvolution(mlp, aggr)(x, edge_index(), frames)
    torch.testing.assert_close(own, converted(x, edge_index(), frames), rtol=0, atol=ROUNDING)


def test_senders_may_be_others_than_the_receivers():
    layer = EdgeConvolution(made(nn.Linear, 2 * REPS.dim, 4), "max")
    frames, x, few = frames_of(NODES), some(NODES, REPS.dim, seed=2), 6
    kept = edge_index()[:, edge_index()[1] < few]
    between = layer((x, x[:few]), kept, (frames, frames[:few]))
    torch.testing.assert_close(between, layer(x, kept, frames)[:few], rtol=0, atol=ROUNDING)


def test_arguments_are_not_changed_and_nothing_stays_on_the_layer():
    layer = EdgeConvolution(made(nn.Linear, 2 * REPS.dim, 4), "max")
    before = dict(layer.__dict__)
    frames, x = frames_of(NODES), some(NODES, REPS.dim, seed=2)
    layer(x, edge_index(), frames)
    assert layer.__dict__ == before
    assert torch.equal(x, some(NODES, REPS.dim, seed=2))
    assert torch.equal(frames, frames_of(NODES))


SCALARS, VECTORS, NEAR, PARITY, HIDDEN = 4, 3, 5, (1.0, -1.0), 10
WIDE = Reps(f"{SCALARS}x0n+{VECTORS}x1n")


class SparseEdgeLayer(TFMessagePassing):
    """The estimator's layer along edges with one hand, with the weights of the dense one."""

    def __init__(self, dense):
        super().__init__({"x": WIDE}, aggr=None)
        self.dense = dense

    def forward(self, x, edge_index, frames, edge_known, moments):
        own, dense = x, self.dense
        pooled = self.propagate(edge_index, frames, x=x, edge_known=edge_known)
        by_component = own[:, SCALARS:].unflatten(1, (VECTORS, 3)).mT.flatten(1)
        seen = torch.cat([own[:, :SCALARS], by_component, moments], 1)
        update = dense.mlp(dense.norm(pooled + dense.receiver(seen)))
        scalars, vectors = update.split([dense.outputs[0], 3 * dense.outputs[1]], 1)
        by_vector = vectors.unflatten(1, (3, dense.outputs[1])).mT
        skipped = own[:, SCALARS:].unflatten(1, (VECTORS, 3))
        vectors = by_vector + dense.skip_vectors(skipped.movedim(2, 0).mT).mT.movedim(0, 2)
        return torch.cat([dense.skip_scalars(own[:, :SCALARS]) + scalars, vectors.flatten(1)], 1)

    def message(self, x_j, edge_known):
        geometry, log_envelope = edge_known.split([5, 1], 1)
        by_component = x_j[:, SCALARS:].unflatten(1, (VECTORS, 3)).mT.flatten(1)
        known = torch.cat([geometry, by_component], 1)
        return self.dense.sender(x_j[:, :SCALARS]) + self.dense.edge(known) + log_envelope

    def aggregate(self, inputs, index, dim_size):
        highest = inputs.unflatten(0, (-1, NEAR)).amax(1)[:, : HIDDEN // 2]
        average = inputs.unflatten(0, (-1, NEAR)).relu().mean(1)[:, HIDDEN // 2 :]
        assert torch.equal(index, torch.arange(dim_size).repeat_interleave(NEAR))
        return torch.cat([highest, average], 1)


@pytest.mark.parametrize("outputs", [(SCALARS, VECTORS), (6, 2)], ids=["residual", "widening"])
def test_the_dense_layer_is_one_of_these(outputs):
    rng = np.random.default_rng(0)
    neighbors = np.argsort(rng.random((NODES, NODES)), axis=1)[:, :NEAR]
    neighbors[:, 0] = np.arange(NODES)
    frames = torch.from_numpy(np.stack([rotation(rng) for _ in range(NODES)]))
    vectors, known = some(NODES, VECTORS, 3, seed=3), some(NODES, NEAR, 6, seed=4)
    scalars, moments = some(NODES, SCALARS, seed=5), some(NODES, len(PARITY), seed=6)
    dense = made(EdgeLayer, (SCALARS, VECTORS), outputs, HIDDEN, PARITY)

    near = Neighborhoods(
        frames.permute(1, 2, 0),
        torch.from_numpy(neighbors.T.copy()),
        known.permute(2, 1, 0),
        moments,
    )
    wanted = dense(Features(scalars, vectors.permute(2, 1, 0).contiguous()), near)

    ends = np.stack([neighbors.ravel(), np.arange(NODES).repeat(NEAR)])
    sparse = SparseEdgeLayer(dense)

    def in_frames(matrices):
        hand = float(torch.linalg.det(matrices[0]).sign())
        seen = torch.tensor([1.0, 1.0, hand, 1.0, 1.0, 1.0])
        x = torch.cat([scalars, (vectors @ matrices.mT).flatten(1)], 1)
        invariants = moments if hand > 0 else moments * torch.tensor(PARITY)
        geometry = (known * seen).flatten(0, 1)
        out = sparse(x, torch.from_numpy(ends), matrices, geometry, invariants)
        turned = out[:, outputs[0] :].unflatten(1, (outputs[1], 3)) @ matrices
        return torch.cat([out[:, : outputs[0]], turned.flatten(1)], 1)

    out = inversion_average(in_frames, frames)
    found = out[:, outputs[0] :].unflatten(1, (outputs[1], 3))

    torch.testing.assert_close(out[:, : outputs[0]], wanted.scalars, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(found.permute(2, 1, 0), wanted.vectors, rtol=0, atol=ROUNDING)
