"""Times the ways to treat both handednesses of frames alike, and measures what each is worth.

A small network of edge layers on PCA frames of a cube's faces: in right-handed frames only,
averaged over both hands, and in one pass that carries both hands at the same total width.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from pykdtree.kdtree import KDTree
from torch import Tensor, nn

from tfnormals.tensorframes.handedness import HandedLinear, exchange, inversion_average
from tfnormals.tensorframes.local_frames import pca_frames

NEIGHBORS = 16


class Cloud(NamedTuple):
    """Points with their neighbours."""

    pos: Tensor
    """(n, 3)"""
    neighbors: Tensor
    """(n, k); an envelope ends at the last."""

    @property
    def edge_index(self) -> Tensor:
        """(2, n k), from neighbours to receivers."""
        receivers = torch.arange(len(self.pos))[:, None].expand_as(self.neighbors)
        return torch.stack([self.neighbors.flatten(), receivers.flatten()])


class EdgeLayer(nn.Module):
    """Messages of scalars and vectors into the receiver's frame, their mean, a residual.

    With ``handed``, all features stand in two halves, one for each hand.
    """

    def __init__(self, scalars: int, vectors: int, hidden: int, handed: bool) -> None:
        super().__init__()
        self.scalars, self.vectors = scalars, vectors
        turned = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
        features = torch.block_diag(
            exchange(scalars // 2), torch.kron(exchange(vectors // 2), turned)
        )
        known = torch.block_diag(features, turned, torch.ones(1, 1))
        middle = exchange(hidden // 2)

        def linear(inputs: Tensor, outputs: Tensor) -> nn.Module:
            return (
                HandedLinear(inputs, outputs) if handed else nn.Linear(len(inputs), len(outputs))
            )

        self.message = nn.Sequential(linear(known, middle), nn.GELU())
        self.update = nn.Sequential(linear(middle, middle), nn.GELU(), linear(middle, features))

    def forward(
        self, features: tuple[Tensor, Tensor], cloud: Cloud, matrices: Tensor
    ) -> tuple[Tensor, Tensor]:
        """New scalars (n, s) and vectors (n, v, 3) in global coordinates."""
        scalars, vectors = features
        n, k = cloud.neighbors.shape
        offset = cloud.pos[cloud.neighbors] - cloud.pos[:, None]
        squared = offset.square().sum(2, keepdim=True)
        reach = squared.amax(1, keepdim=True)
        arriving = torch.cat([vectors[cloud.neighbors], (offset / reach.sqrt())[:, :, None]], 2)
        local = (arriving.flatten(1, 2) @ matrices.mT).view(n, k, -1)
        known = torch.cat([scalars[cloud.neighbors], local, squared / reach], 2)
        pooled = (self.message(known) * (1 - (squared / reach) ** 3)).mean(1)
        more, local = self.update(pooled).split([self.scalars, 3 * self.vectors], 1)
        return scalars + more, vectors + local.view(n, -1, 3) @ matrices


class Network(nn.Module):
    """Edge layers, from nothing to a vector at every point."""

    def __init__(self, width: int, layers: int, handed: bool) -> None:
        super().__init__()
        self.scalars, self.vectors = width // 2, width // 4
        self.layers = nn.ModuleList(
            EdgeLayer(self.scalars, self.vectors, 2 * width, handed) for _ in range(layers)
        )

    def forward(self, cloud: Cloud, matrices: Tensor) -> Tensor:
        """Vectors (n, 3) in global coordinates: the mean over channels, and so over hands."""
        scalars = cloud.pos.new_ones(len(cloud.pos), self.scalars)
        vectors = cloud.pos.new_zeros(len(cloud.pos), self.vectors, 3)
        for layer in self.layers:
            scalars, vectors = layer((scalars, vectors), cloud, matrices)
        return vectors.mean(1)


def cube(count: int) -> Tensor:
    """Uniform points (count, 3) on the faces of a cube."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (count, 3))
    points[np.arange(count), rng.integers(3, size=count)] = rng.choice([-1.0, 1.0], count)
    return torch.from_numpy(points)


def cloud_of(pos: Tensor) -> Cloud:
    """Points with their nearest neighbours."""
    found = KDTree(pos.double().numpy()).query(pos.double().numpy(), k=NEIGHBORS + 2)[1]
    return Cloud(pos, torch.from_numpy(found[:, 1:].astype(np.int64)))


def vectors(network: Network, cloud: Cloud, matrices: Tensor, averaged: bool) -> Tensor:
    """Vectors (n, 3)."""
    if averaged:
        return inversion_average(lambda frames: network(cloud, frames), matrices)
    return network(cloud, matrices)


def share_off(network: Network, averaged: bool) -> float:
    """Share of a cube's points where float64 answers do not follow a reflection to 1e-9."""
    network, pos = network.double(), cube(1000)

    def answer(pos: Tensor) -> Tensor:
        cloud = cloud_of(pos)
        matrices = pca_frames(pos, cloud.edge_index).matrices
        return vectors(network, cloud, matrices, averaged)

    q = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).normal(size=(3, 3))))[0]
    q = q * -torch.linalg.det(q).sign()
    expected = answer(pos) @ q.T
    found = answer(pos @ q.T)
    error = (found - expected).norm(dim=1) / expected.norm(dim=1).mean()
    network.float()
    return float((error > 1e-9).double().mean())


def cpu_seconds(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median processor time of each call, in turn, so that other load counts little."""
    rounds = []
    for _ in range(repeats):
        marks = [time.process_time()]
        for call in calls:
            call()
            marks.append(time.process_time())
        rounds.append([after - before for before, after in pairwise(marks)])
    return [median(times) for times in zip(*rounds, strict=True)]


def main() -> None:
    """Prints, for each way, its time, parameters and share of wrong points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=4096)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(0)
    cloud = cloud_of(cube(args.points).float())
    matrices = pca_frames(cloud.pos, cloud.edge_index).matrices
    plain, handed = (Network(args.width, args.layers, handed=kind) for kind in (False, True))
    ways = {
        "right-handed frames only": (plain, False),
        "inversion average": (plain, True),
        "both hands in one pass": (handed, False),
    }
    forward = [
        partial(vectors, network, cloud, matrices, hands) for network, hands in ways.values()
    ]
    step = [partial(lambda call: call().square().sum().backward(), call) for call in forward]
    cpu_seconds(step, 1)
    with torch.no_grad():
        quick = cpu_seconds(forward, args.repeats)
    slow = cpu_seconds(step, args.repeats)
    print(f"{args.points} points, width {args.width}, {torch.get_num_threads()} threads, CPU time")
    print(f"{'':26}{'forward':>16}{'with gradients':>18}  parameters  wrong under reflection")
    for (name, (network, hands)), a, b in zip(ways.items(), quick, slow, strict=True):
        size = sum(p.numel() for p in network.parameters()) // (2 if network is handed else 1)
        off = 100 * share_off(network, hands)
        print(
            f"{name:26}{a:7.3f} s {a / quick[0]:5.2f} x{b:9.3f} s {b / slow[0]:5.2f} x"
            f"{size:12}{off:10.1f} % of a cube"
        )


if __name__ == "__main__":
    main()
