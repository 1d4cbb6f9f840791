"""Four point cloud networks of PyG, made equivariant in a few lines each.

The layers are PyG's, unmodified: ``make_equivariant`` and an argument ``frames`` are all that is
added. Each network takes positions (n, 3) and gives a vector for every point, PointNet++ for every
64th. Run this file to see how well the vectors follow a reflection of the cloud.
"""

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tfnormals.tensorframes.convert import make_equivariant
from tfnormals.tensorframes.handedness import inversion_average
from tfnormals.tensorframes.local_frames import pca_frames
from tfnormals.tensorframes.reps import Reps

INPUT, HIDDEN, OUTPUT = Reps("1x0n"), Reps("16x0n+8x1n"), Reps("1x1n")
NEIGHBORS = 16


def nearest(queries: Tensor, pos: Tensor) -> Tensor:
    """Edges from the nearest points to each query."""
    senders = torch.cdist(queries, pos).topk(min(NEIGHBORS, len(pos)), largest=False).indices
    receivers = torch.arange(len(queries)).repeat_interleave(senders.shape[1])
    return torch.stack([senders.flatten(), receivers])


def mlp(inputs: int, outputs: int) -> nn.Module:
    """Any network will do: what it sees is invariant."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, outputs))


class PointNet2(nn.Module):
    """PointNet++: levels of ever fewer points, which gather from those of the level before."""

    def __init__(self) -> None:
        super().__init__()
        levels = (INPUT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, OUTPUT)
        self.layers = nn.ModuleList()
        for reps, out in levels:
            layer = pyg.PointNetConv(mlp(reps.dim + 3, out.dim), add_self_loops=False)
            self.layers.append(make_equivariant(layer, reps, out))

    def forward(self, pos: Tensor, frames: Tensor) -> Tensor:
        """The vectors, in global coordinates."""
        x = pos.new_ones(len(pos), 1)
        for layer in self.layers:
            fewer = pos[::4], frames[::4]
            edges = nearest(fewer[0], pos)
            x = layer((x, None), edges, (frames, fewer[1]), pos=(pos, fewer[0]))
            pos, frames = fewer
        return OUTPUT.transform(x, frames.mT)


class DGCNN(nn.Module):
    """Edge convolutions of the positions, relative to the centre of the cloud."""

    def __init__(self) -> None:
        super().__init__()
        first = pyg.EdgeConv(mlp(2 * OUTPUT.dim, HIDDEN.dim))
        second = pyg.EdgeConv(mlp(2 * HIDDEN.dim, OUTPUT.dim))
        self.first = make_equivariant(first, OUTPUT, HIDDEN)
        self.second = make_equivariant(second, HIDDEN, OUTPUT)

    def forward(self, pos: Tensor, frames: Tensor) -> Tensor:
        """The vectors, in global coordinates."""
        edges = nearest(pos, pos)
        x = self.first(OUTPUT.transform(pos - pos.mean(0), frames), edges, frames)
        return OUTPUT.transform(self.second(x.relu(), edges, frames), frames.mT)


class GAT(nn.Module):
    """A whole model at once. Its features of edges are the offsets, vectors without a frame."""

    def __init__(self) -> None:
        super().__init__()
        model = pyg.GAT(1, HIDDEN.dim, 3, OUTPUT.dim, v2=True, heads=4, edge_dim=3)
        self.model = make_equivariant(model, INPUT, OUTPUT, {"edge_attr": "1n"}, HIDDEN)

    def forward(self, pos: Tensor, frames: Tensor) -> Tensor:
        """The vectors, in global coordinates."""
        edges = nearest(pos, pos)
        offsets = pos[edges[0]] - pos[edges[1]]
        x = self.model(pos.new_ones(len(pos), 1), edges, frames, edge_attr=offsets)
        return OUTPUT.transform(x, frames.mT)


class PointTransformer(nn.Module):
    """Vector attention, which sees the offsets between the points."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for reps, out in (INPUT, HIDDEN), (HIDDEN, OUTPUT):
            layer = pyg.PointTransformerConv(reps.dim, out.dim, mlp(3, out.dim))
            self.layers.append(make_equivariant(layer, reps, out))

    def forward(self, pos: Tensor, frames: Tensor) -> Tensor:
        """The vectors, in global coordinates."""
        x, edges = pos.new_ones(len(pos), 1), nearest(pos, pos)
        for layer in self.layers:
            x = layer(x, edges, frames, pos=pos)
        return OUTPUT.transform(x, frames.mT)


NETWORKS = (PointNet2, DGCNN, GAT, PointTransformer)


def vectors_of(network: nn.Module, pos: Tensor) -> Tensor:
    """The network's vectors, in frames from the neighbours, right- and left-handed ones alike."""
    frames = pca_frames(pos, nearest(pos, pos)).matrices
    return inversion_average(lambda matrices: network(pos, matrices), frames)


if __name__ == "__main__":
    pos = torch.randn(256, 3, dtype=torch.float64)
    mirror = -torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    for network in (make().double() for make in NETWORKS):
        vectors = vectors_of(network, pos)
        error = vectors_of(network, pos @ mirror.T) - vectors @ mirror.T
        print(f"{type(network).__name__:17} {error.abs().max() / vectors.abs().max():.0e}")  # noqa: T201
