"""One network, two switches: where frames come from, and how messages turn.

The plain network, rotation augmentation, global canonicalization, local canonicalization (scalar
messages) and tensor frames are ``PointNet(Variant(frames, messages))``, with the same layers and
the same number of columns everywhere.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from ablation_clouds import Clouds, Level, edge_index
from jaxtyping import Float
from torch import Tensor, nn

from tfnormals.graph import NEIGHBORS
from tfnormals.tensorframes.gram_schmidt import LocalFrames
from tfnormals.tensorframes.handedness import inversion_average, mirrored
from tfnormals.tensorframes.local_frames import (
    LearnedFrames,
    cloud_frames,
    identity_frames,
    pca_frames,
    random_frames,
)
from tfnormals.tensorframes.message_passing import TFMessagePassing
from tfnormals.tensorframes.reps import Reps

Frames = Literal["identity", "augmented", "global", "PCA", "learned SO(3)", "learned O(3)"]
Messages = Literal["scalars", "vectors", "vectors + 2s"]
FRAMES: tuple[Frames, ...] = (
    "identity",
    "augmented",
    "global",
    "PCA",
    "learned SO(3)",
    "learned O(3)",
)
MESSAGES: tuple[Messages, ...] = ("scalars", "vectors", "vectors + 2s")
SHARED: tuple[Frames, ...] = ("identity", "augmented", "global")
"""Where all nodes of a cloud have the same frame: messages of any kind arrive unchanged."""
WIDTHS = (48, 96, 96)
"""Columns of the features of each level, the finest first."""
INPUT = Reps("3x0n")
OUTPUT = Reps("2x1n+1x0n")
"""The line, the side and the doubt."""


@dataclass(frozen=True)
class Variant:
    """The two switches."""

    frames: Frames
    messages: Messages

    @property
    def both_hands(self) -> bool:
        """Whether frames of either hand are drawn in training, and averaged in the answer."""
        return self.frames in ("global", "PCA", "learned O(3)")

    def features(self, width: int) -> Reps:
        """So many columns, half of which turn unless messages are scalars."""
        if self.messages == "scalars":
            return Reps(f"{width}x0n")
        if self.messages == "vectors":
            return Reps(f"{width // 2}x0n+{width // 6}x1n")
        return Reps(f"{width // 2}x0n+{width // 16}x1n+{width // 16}x2s")


VARIANTS = tuple(
    Variant(frames, messages)
    for frames in FRAMES
    for messages in (MESSAGES[:1] if frames in SHARED else MESSAGES)
)
"""Those that differ."""


class Prediction(NamedTuple):
    """What is said of each point, in global coordinates."""

    lines: Float[Tensor, "n 3"]
    """Unit vectors along the normals, either way."""
    side: Float[Tensor, "n 3"]
    """``side . line`` is the logit of a line pointing outward."""
    doubt: Float[Tensor, " n"]
    """Logit of the expected sine of the angle between line and normal."""


class EdgeLayer(TFMessagePassing):
    """Messages from the neighbours, their maximum, a residual MLP."""

    def __init__(self, inputs: Reps, outputs: Reps) -> None:
        super().__init__({"x": inputs}, aggr=None)
        width = outputs.dim
        self.neighbor = nn.Linear(inputs.dim + 4, width)
        self.own = nn.Linear(inputs.dim, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Linear(inputs.dim, width)

    def forward(
        self,
        x: tuple[Tensor, Tensor],
        frames: tuple[Tensor, Tensor],
        level: Level,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Features of the receivers: of some rows of a level, or of all.

        Args:
            x: Features of all nodes of the level in their frames, and of the receivers in theirs.
            frames: Of these.
            level: Where the nodes are.
            rows: Of the receivers.
        """
        chosen = slice(None) if rows is None else rows
        pooled = self.propagate(
            edge_index(level.neighbors[:, chosen]),
            frames,
            x=x,
            pos=(level.pos, level.pos[chosen]),
            edge=level.edges[:, chosen].flatten(0, 1),
        )
        return self.skip(x[1]) + self.mlp(pooled + self.own(x[1]))

    def message(self, x_j: Tensor, pos_i: Tensor, pos_j: Tensor, edge: Tensor) -> Tensor:
        """Takes a neighbour out of the maximum continuously where the neighbourhood ends."""
        length, log_envelope = edge.split(1, 1)
        return self.neighbor(torch.cat([x_j, pos_j - pos_i, length], 1)) + log_envelope

    def aggregate(self, inputs: Tensor) -> Tensor:
        """The maximum; every receiver has as many neighbours."""
        return inputs.view(NEIGHBORS, -1, inputs.shape[1]).amax(0)


class PointNet(nn.Module):
    """A small PointNet++: down by farthest points, up by interpolation."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.reps = reps = [variant.features(width) for width in WIDTHS]
        self.learned = LearnedFrames(INPUT.dim) if "learned" in variant.frames else None
        inputs = [INPUT, *reps[1:]]
        self.down = nn.ModuleList(EdgeLayer(*pair) for pair in zip(inputs, reps, strict=True))
        self.up = nn.ModuleList(EdgeLayer(same, same) for same in reps[:-1])
        self.coarsen = nn.ModuleList(EdgeLayer(*pair) for pair in pairwise(reps))
        self.refine = nn.ModuleList(nn.Linear(b.dim, a.dim) for a, b in pairwise(reps))
        width = reps[0].dim
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, OUTPUT.dim))

    def frames(
        self, clouds: Clouds, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n 3 3"]:
        """Frames of the nodes of all levels, one level after the other.

        Args:
            clouds: Where the nodes are.
            generator: Of random frames and hands, in training; None in tests.
        """
        kind, finest = self.variant.frames, clouds.levels[0]
        if kind == "global":
            matrices = _handed_down(cloud_frames(finest.pos, finest.cloud), clouds)
        elif kind == "augmented" and generator is not None:
            matrices = _handed_down(random_frames(finest.pos, generator, finest.cloud), clouds)
        elif kind in ("identity", "augmented"):
            matrices = _handed_down(identity_frames(finest.pos), clouds)
        else:
            matrices = torch.cat([self._local_frames(level) for level in clouds.levels])
        if self.variant.both_hands and generator is not None:
            left = bool(torch.rand(1, generator=generator) < 0.5)
            return mirrored(matrices) if left else matrices
        return matrices

    def _local_frames(self, level: Level) -> Tensor:
        edges = edge_index(level.neighbors)
        if self.learned is None:
            return pca_frames(level.pos, edges, level.cloud).matrices
        return self.learned(level.pos, edges, level.shape, level.cloud).matrices

    def forward(self, clouds: Clouds, matrices: Float[Tensor, "n 3 3"]) -> Prediction:
        """Predictions for the points of the finest level, in any frames of all nodes."""
        levels = clouds.levels
        frames = matrices.split([len(level.pos) for level in levels])
        x, skipped = levels[0].shape, []
        for index, level in enumerate(levels):
            x = self.down[index]((x, x), (frames[index],) * 2, level)
            skipped.append(x)
            if index < len(levels) - 1:
                rows, ends = level.sampled, (frames[index], frames[index + 1])
                own = self.reps[index].transform(x[rows], ends[1] @ ends[0][rows].mT)
                x = self.coarsen[index]((x, own), ends, level, rows)
        for index in reversed(range(len(levels) - 1)):
            x = self._interpolated(x, frames, levels[index], index) + skipped[index]
            x = self.up[index]((x, x), (frames[index],) * 2, levels[index])
        line, side, doubt = OUTPUT.transform(self.head(x), frames[0].mT).split([3, 3, 1], 1)
        return Prediction(nn.functional.normalize(line, dim=1), side, doubt[:, 0])

    def _interpolated(
        self, x: Tensor, frames: tuple[Tensor, ...], level: Level, index: int
    ) -> Tensor:
        """Features of the coarser level at the nodes of this one, in their frames."""
        reps = self.reps[index + 1]
        away = reps.transform(x, frames[index + 1].mT)
        near = (away[level.parents] * level.weights[:, :, None]).sum(0)
        return self.refine[index](reps.transform(near, frames[index]))

    def normals(self, clouds: Clouds) -> Float[Tensor, "n 3"]:
        """Unit normals, on the side found more likely to be outside."""

        def said(matrices: Tensor) -> Tensor:
            found = self(clouds, matrices)
            tensors = found.lines[:, :, None] * found.lines[:, None]  # a line has no sign
            return torch.cat([tensors.flatten(1), found.side], 1)

        matrices = self.frames(clouds)
        both = inversion_average(said, matrices) if self.variant.both_hands else said(matrices)
        lines = torch.linalg.eigh(both[:, :9].view(-1, 3, 3)).eigenvectors[:, :, -1]
        inward = (both[:, 9:] * lines).sum(1, keepdim=True) < 0
        return torch.where(inward, -lines, lines)


def _handed_down(finest: LocalFrames, clouds: Clouds) -> Float[Tensor, "n 3 3"]:
    """The same frames for the nodes of all levels."""
    found = [finest.matrices]
    for level in clouds.levels[:-1]:
        found.append(found[-1][level.sampled])
    return torch.cat(found)
