"""The tensor-frames PointNet++: from the graph of a cloud to directions and sides.

Source: Qi et al., PointNet++, NeurIPS 2017 (set abstraction, feature propagation); Lippmann et
al., ICLR 2025 (tensorial messages).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .graph import LEVELS, MOMENT_PARITY, Level
from .tensorframes import EdgeLayer, Features, Neighborhoods, turned
from .tensorframes.layers import VectorLinear
from .voting import Directions, Voting


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a network, finest level first."""

    scalars: tuple[int, ...] = (16, 32, 64, 96, 128, 128)
    vectors: tuple[int, ...] = (4, 8, 16, 24, 32, 32)
    hidden: tuple[int, ...] = (32, 64, 96, 128, 128, 128)
    down: tuple[int, ...] = (1, 1, 1, 2, 2, 4)
    """Edge layers of each level before its points are sampled."""
    up: tuple[int, ...] = (2, 1, 2, 3, 3, 0)
    """Edge layers of each level after the coarser one came back."""
    votes: int = 3
    """Rounds of votes on the directions."""

    @classmethod
    def from_json(cls, sizes: dict[str, Any]) -> "NetworkConfig":
        """From what JSON made of ``asdict``: its lists become tuples.

        Raises:
            TypeError: If a size is unknown.
        """
        tuples: dict[str, Any] = {
            name: tuple(size) if isinstance(size, list) else size for name, size in sizes.items()
        }
        return cls(**tuples)


class LevelTensors(NamedTuple):
    """A ``graph.Level`` as tensors; several clouds may stand one after the other."""

    receivers: Neighborhoods
    sampled: Int[Tensor, " m"]
    parents: Int[Tensor, "p n"]
    weights: Float[Tensor, "p n"]


class Prediction(NamedTuple):
    """What the pyramid says of each point, before the votes."""

    direction: Directions
    side: Float[Tensor, "3 n"]
    """``side . line`` is the logit of a line pointing outward."""
    context: Float[Tensor, "n c"]
    """Invariants of the point."""


class Answer(NamedTuple):
    """The predictions with both handednesses, averaged."""

    normals: Float[Tensor, "n 3"]
    """Unit normals on the side found more likely to be outside."""
    logit: Float[Tensor, " n"]
    """Logit, >= 0, of the side being right; 0 where nothing tells the sides apart."""
    error: Float[Tensor, " n"]
    """Expected sine of the unoriented angle to the true normal."""


def level_tensors(
    levels: list[Level], dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> list[LevelTensors]:
    """The levels of one cloud, ready for the network."""

    def real(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device, dtype)

    def rows(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    return [
        LevelTensors(
            Neighborhoods(
                real(level.frames), rows(level.neighbors), real(level.edges), real(level.moments.T)
            ),
            rows(level.sampled),
            rows(level.parents),
            real(level.weights),
        )
        for level in levels
    ]


class TensorFramesPointNet(nn.Module):
    """A pyramid of edge layers, down by farthest points and up by interpolation."""

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NetworkConfig()
        sizes = list(zip(config.scalars, config.vectors, strict=True))
        moments, pairs = len(MOMENT_PARITY), list(pairwise(sizes))

        def stacked(counts: tuple[int, ...]) -> nn.ModuleList:
            """For each level, edge layers one after the other."""
            levels = zip(sizes, config.hidden, counts, strict=True)
            return nn.ModuleList(
                nn.ModuleList(EdgeLayer(size, size, width, moments) for _ in range(count))
                for size, width, count in levels
            )

        self.stem = nn.Linear(moments, sizes[0][0] + 3 * sizes[0][1])
        self.down, self.up = stacked(config.down), stacked(config.up)
        self.abstract = nn.ModuleList(
            EdgeLayer(fine, coarse, width, moments)
            for (fine, coarse), width in zip(pairs, config.hidden[1:], strict=True)
        )
        self.lower_scalars = nn.ModuleList(nn.Linear(coarse[0], fine[0]) for fine, coarse in pairs)
        self.lower_vectors = nn.ModuleList(
            VectorLinear(coarse[1], fine[1]) for fine, coarse in pairs
        )
        width = config.hidden[0]
        self.head = nn.Sequential(
            nn.Linear(sizes[0][0] + 3 * sizes[0][1] + moments, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, 7),
        )
        self.voting = nn.ModuleList(Voting(sizes[0][0], width // 2) for _ in range(config.votes))

    def forward(
        self, levels: list[LevelTensors], hand: float, on_layer: Callable[[], None] | None = None
    ) -> Prediction:
        """Predictions with all frames right-handed (hand 1) or all left-handed (hand -1)."""
        done = on_layer or (lambda: None)
        mirrored = [mirrored_level(level.receivers, hand) for level in levels]
        features = self._stem(mirrored[0])
        skipped: list[Features] = []
        for index, (level, receivers) in enumerate(zip(levels, mirrored, strict=True)):
            for layer in _in_turn(self.down[index]):
                features = layer(features, receivers)
                done()
            skipped.append(features)
            if index < LEVELS - 1:
                features = self.abstract[index](features, receivers.among(level.sampled))
        for index in reversed(range(LEVELS)):
            if index < LEVELS - 1:
                features = self._lowered(features, skipped[index], levels[index], index)
            for layer in _in_turn(self.up[index]):
                features = layer(features, mirrored[index])
                done()
        return self._read(features, mirrored[0])

    def voted(self, prediction: Prediction, levels: list[LevelTensors]) -> list[Directions]:
        """The directions before the first round of votes and after each."""
        rounds = [prediction.direction]
        for voting in self.voting:
            rounds.append(voting(rounds[-1], prediction.context, levels[0].receivers))
        return rounds

    def answer(
        self, levels: list[LevelTensors], on_progress: Callable[[int, int], None] | None = None
    ) -> Answer:
        """Normals that follow every rotation and reflection exactly.

        Lines have no sign, so the second is aligned to the first; sides are true vectors and the
        rest are invariants, so they are averaged (DESIGN.md section 2, trap 1).
        """
        total = 2 * sum(self.config.down + self.config.up)
        steps = iter(range(1, total + 1))

        def advance() -> None:
            if on_progress is not None:
                on_progress(next(steps), total)

        right, left = self(levels, 1.0, advance), self(levels, -1.0, advance)
        first, second = right.direction.lines, left.direction.lines
        aligned = torch.where((first * second).sum(0) < 0, -second, second)
        lines = nn.functional.normalize(first + aligned, dim=0)
        direction = Directions(lines, (right.direction.doubt + left.direction.doubt) / 2)
        side = (right.side + left.side) / 2
        both = Prediction(direction, side, (right.context + left.context) / 2)
        lines, doubt = self.voted(both, levels)[-1]
        logit = (side * lines).sum(0)
        normals = torch.where(logit < 0, -lines, lines)
        return Answer(normals.T, logit.abs(), doubt.sigmoid())

    def _stem(self, receivers: Neighborhoods) -> Features:
        start = self.stem(receivers.moments).to(receivers.frames.dtype)
        scalars, vectors = start.tensor_split([self.config.scalars[0]], 1)
        local = vectors.T.reshape(3, -1, len(start))
        return Features(scalars, turned(local, receivers.frames, back=True))

    def _lowered(
        self, features: Features, skipped: Features, level: LevelTensors, index: int
    ) -> Features:
        """Features of the coarser level, interpolated and added to those of the finer one."""
        scalars = self.lower_scalars[index](features.scalars)
        vectors = self.lower_vectors[index](features.vectors)
        shape, rows = level.parents.shape, level.parents.reshape(-1)
        near = scalars.index_select(0, rows).view(*shape, -1) * level.weights[:, :, None]
        arrows = vectors.flatten(0, 1).index_select(1, rows).view(-1, *shape) * level.weights
        return Features(
            skipped.scalars + near.sum(0),
            skipped.vectors + arrows.sum(1).view_as(skipped.vectors),
        )

    def _read(self, features: Features, receivers: Neighborhoods) -> Prediction:
        local = turned(features.vectors, receivers.frames).flatten(0, 1).T
        out = self.head(torch.cat([features.scalars, local, receivers.moments], 1)).to(local.dtype)
        vectors = turned(out[:, :6].T.reshape(3, 2, -1), receivers.frames, back=True)
        lines = nn.functional.normalize(vectors[:, 0], dim=0)
        return Prediction(Directions(lines, out[:, 6]), vectors[:, 1], features.scalars.to(lines))


def _in_turn(layers: nn.Module) -> list[EdgeLayer]:
    """The layers of a list; torch types its elements as modules of any kind."""
    return [layer for layer in layers.children() if isinstance(layer, EdgeLayer)]


def mirrored_level(receivers: Neighborhoods, hand: float) -> Neighborhoods:
    """The same neighbourhoods seen in right-handed (1) or left-handed (-1) frames."""
    if hand == 1:
        return receivers
    frames, neighbors, edges, moments = receivers
    frames, edges = frames.clone(), edges.clone()
    frames[2] *= hand
    edges[2] *= hand
    parity = torch.from_numpy(MOMENT_PARITY).to(moments)
    return Neighborhoods(frames, neighbors, edges, moments * parity)
