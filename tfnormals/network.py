"""The tensor-frames PointNet++: from the graph of a cloud to directions and sides.

Source: Qi et al., PointNet++, NeurIPS 2017 (set abstraction, feature propagation); Lippmann et
al., ICLR 2025 (tensorial messages).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .graph import LEVELS, MOMENT_PARITY, Level
from .tensorframes import EdgeLayer, Features, turned
from .tensorframes.handedness import both_hands, hands_averaged, parity_of
from .tensorframes.layers import Receivers, VectorLinear, measured
from .tensorframes.loops import chunked
from .voting import Directions, Voting

DENSE = 65_536
"""More points than this get the last round of votes once more: votes reach less far where points
are dense; chosen on held-out clouds of 20 000 and 100 000 points."""

_ALMOST_ZERO = 1e-24
"""Added to a squared length, so that zero vectors stay zero."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a network, finest level first."""

    scalars: tuple[int, ...] = (16, 32, 64, 96, 128, 128)
    vectors: tuple[int, ...] = (4, 8, 16, 24, 32, 32)
    hidden: tuple[int, ...] = (32, 64, 96, 128, 128, 128)
    down: tuple[int, ...] = (1, 1, 1, 2, 2, 4)
    """Edge layers of each level before its points are sampled."""
    up: tuple[int, ...] = (2, 2, 2, 3, 3, 0)
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


class Prediction(NamedTuple):
    """What the pyramid says of each point, before the votes."""

    direction: Directions
    side: Float[Tensor, "3 n"]
    """``side . line`` is the logit of a line pointing outward."""
    context: Float[Tensor, "n c"]
    """Invariants of the point."""


class Answer(NamedTuple):
    """The normals of a cloud and how far to trust them."""

    normals: Float[Tensor, "n 3"]
    """Unit normals on the side found more likely to be outside."""
    logit: Float[Tensor, " n"]
    """Logit, >= 0, of the side being right; 0 where nothing tells the sides apart."""
    error: Float[Tensor, " n"]
    """Expected sine of the unoriented angle to the true normal."""

    def to(self, device: str | torch.device) -> "Answer":
        """The same on another device."""
        return Answer(*(part.to(device) for part in self))


def measured_levels(levels: list[Level]) -> list[Level]:
    """The levels with their edges measured once, not in every layer: faster, for more memory."""
    return [level._replace(receivers=measured(level.receivers)) for level in levels]


class TensorFramesPointNet(nn.Module):
    """A pyramid of edge layers, down by farthest points and up by interpolation.

    Whatever reads or writes in the frame of a point does so with both handednesses and averages,
    so the network follows every rotation and reflection exactly (DESIGN.md section 2, trap 1).
    """

    moment_parity: Tensor
    own_parity: Tensor
    seen_parity: Tensor

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NetworkConfig()
        sizes = list(zip(config.scalars, config.vectors, strict=True))
        moments, pairs = len(MOMENT_PARITY), list(pairwise(sizes))
        parity = torch.tensor(MOMENT_PARITY, device="cpu")

        def stacked(counts: tuple[int, ...]) -> nn.ModuleList:
            """For each level, edge layers one after the other."""
            levels = zip(sizes, config.hidden, counts, strict=True)
            return nn.ModuleList(
                nn.ModuleList(EdgeLayer(size, size, width, MOMENT_PARITY) for _ in range(count))
                for size, width, count in levels
            )

        self.stem = nn.Linear(moments, sizes[0][0] + 3 * sizes[0][1])
        self.down, self.up = stacked(config.down), stacked(config.up)
        self.abstract = nn.ModuleList(
            EdgeLayer(fine, coarse, width, MOMENT_PARITY)
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
        own = parity_of(*sizes[0])
        self.register_buffer("moment_parity", parity, persistent=False)
        self.register_buffer("own_parity", own, persistent=False)
        self.register_buffer("seen_parity", torch.cat([own, parity]), persistent=False)

    def forward(
        self, levels: list[Level], on_layer: Callable[[], None] | None = None
    ) -> Prediction:
        """What the pyramid says of the points of the finest level."""
        done = on_layer or (lambda: None)
        features = self._stem(levels[0].receivers)
        skipped: list[Features] = []
        for index, level in enumerate(levels):
            for layer in _in_turn(self.down[index]):
                features = layer(features, level.receivers)
                done()
            skipped.append(features)
            if index < LEVELS - 1:
                features = self.abstract[index](features, level.receivers, level.sampled)
        for index in reversed(range(LEVELS)):
            if index < LEVELS - 1:
                features = self._lowered(features, skipped[index], levels[index], index)
            for layer in _in_turn(self.up[index]):
                features = layer(features, levels[index].receivers)
                done()
        return self._read(features, levels[0].receivers)

    def voted(self, prediction: Prediction, levels: list[Level]) -> list[Directions]:
        """The directions before the first round of votes and after each."""
        rounds, near = [prediction.direction], levels[0].receivers
        for voting in self.voting:
            rounds.append(voting(rounds[-1], prediction.context, near))
        return rounds

    def answer(
        self, levels: list[Level], on_progress: Callable[[int, int], None] | None = None
    ) -> Answer:
        """Normals that follow every rotation and reflection exactly."""
        total = sum(self.config.down + self.config.up)
        steps = iter(range(1, total + 1))

        def advance() -> None:
            if on_progress is not None:
                on_progress(next(steps), total)

        prediction = self(levels, advance)
        last = self.voted(prediction, levels)[-1]
        if self.config.votes and len(last.doubt) > DENSE:
            last = self.voting[-1](last, prediction.context, levels[0].receivers)
        lines, doubt = last

        def answer(rows: slice) -> Answer:
            line = lines[:, rows]
            logit = (prediction.side[:, rows] * line).sum(0)
            normals = torch.where(logit < 0, -line, line)
            return Answer(normals.T, logit.abs(), doubt[rows].sigmoid())

        return Answer(*chunked(answer, len(doubt), (0, 0, 0), doubt.device))

    def _stem(self, receivers: Receivers) -> Features:
        def start(rows: slice) -> Features:
            return self._started(receivers.among(rows))

        moments = receivers.moments
        return Features(*chunked(start, len(moments), (0, 2), moments.device))

    def _started(self, receivers: Receivers) -> Features:
        both = self.stem(both_hands(receivers.moments, self.moment_parity))
        start = hands_averaged(both.to(receivers.frames.dtype), self.own_parity)
        scalars, vectors = start.tensor_split([self.config.scalars[0]], 1)
        local = vectors.T.reshape(3, -1, len(start))
        return Features(scalars, turned(local, receivers.frames, back=True))

    def _lowered(
        self, features: Features, skipped: Features, level: Level, index: int
    ) -> Features:
        """Features of the coarser level, interpolated and added to those of the finer one."""
        scalars, vectors = self.lower_scalars[index], self.lower_vectors[index]
        above = Features(
            *chunked(
                lambda rows: [
                    scalars(features.scalars[rows]),
                    vectors(features.vectors[..., rows]),
                ],
                len(features.scalars),
                (0, 2),
                features.scalars.device,
            )
        )

        def interpolated(rows: slice) -> Features:
            parents, weights = level.parents[:, rows], level.weights[:, rows]
            flat, before = parents.reshape(-1), skipped.vectors[..., rows]
            near = above.scalars.index_select(0, flat).view(*parents.shape, -1)
            arrows = above.vectors.flatten(0, 1).index_select(1, flat).view(-1, *parents.shape)
            return Features(
                skipped.scalars[rows] + (near * weights[:, :, None]).sum(0),
                before + (arrows * weights).sum(1).view_as(before),
            )

        return Features(
            *chunked(interpolated, level.parents.shape[1], (0, 2), level.parents.device)
        )

    def _read(self, features: Features, receivers: Receivers) -> Prediction:
        def read(rows: slice) -> tuple[Tensor, ...]:
            some = Features(features.scalars[rows], features.vectors[..., rows])
            return self._said(some, receivers.among(rows))

        rows = features.scalars
        lines, doubt, side = chunked(read, len(rows), (1, 0, 1), rows.device)
        return Prediction(Directions(lines, doubt), side, features.scalars.to(lines))

    def _said(self, features: Features, receivers: Receivers) -> tuple[Tensor, Tensor, Tensor]:
        """Lines, doubts and sides.

        Lines have no sign, so that of the left-handed frames is aligned before the mean.
        """
        local = turned(features.vectors, receivers.frames).flatten(0, 1).T
        seen = torch.cat([features.scalars, local, receivers.moments], 1)
        both = self.head(both_hands(seen, self.seen_parity)).to(local.dtype)
        vectors = both[:, :, :6].permute(2, 0, 1).unflatten(0, (3, 2))  # axis, kind, hand, point
        third = torch.stack([vectors[2:, :, 0], -vectors[2:, :, 1]], 2)
        vectors = torch.cat([vectors[:2], third])
        lines, sides = _unit(vectors[:, 0]), vectors[:, 1]
        first, second = lines.unbind(1)
        aligned = torch.where((first * second).sum(0) < 0, -second, second)
        line = _unit(first + aligned)
        said = turned(torch.stack([line, sides.mean(1)], 1), receivers.frames, back=True)
        return said[:, 0], both[:, :, 6].mean(0), said[:, 1]


def _unit(vectors: Float[Tensor, "3 *c n"]) -> Tensor:
    """Unit vectors; torch's own take fifty times as long over the first axis."""
    return vectors * ((vectors * vectors).sum(0) + _ALMOST_ZERO).rsqrt()


def _in_turn(layers: nn.Module) -> list[EdgeLayer]:
    """The layers of a list; torch types its elements as modules of any kind."""
    return [layer for layer in layers.children() if isinstance(layer, EdgeLayer)]
