"""A network without frames whose weights, trained in one dimension, run in any other.

Every vector is a sum of offsets r_ij and of incoming vectors v_j, weighted by functions of inner
products. Nothing else ever touches a coordinate, so the weights do not know how many there are:
the network f is equivariant under O(d) for every d, and f(pad x) = pad f(x) where pad appends a
zero coordinate. In return a sum of in-plane vectors cannot leave the plane; where frames are
defined, the edge layer of ``layers.py`` says more.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class AnyDimConfig:
    """Sizes of a network, the same at each of its levels."""

    levels: int
    scalars: int = 16
    vectors: int = 8
    hidden: int = 32


class AnyDimFeatures(NamedTuple):
    """Node features: invariant scalars, and vectors in global coordinates."""

    scalars: Float[Tensor, "n s"]
    vectors: Float[Tensor, "d n v"]


class AnyDimNeighborhoods(NamedTuple):
    """Who hears whom."""

    neighbors: Int[Tensor, "k n"]
    """Rows of the senders; the first is the receiver itself."""
    offsets: Float[Tensor, "d k n"]
    """From the receiver to each sender; in units of about the size of a neighbourhood."""
    envelope: Float[Tensor, "k n"]
    """Weights, not negative, that fall to zero where a neighbour is exchanged."""


class AnyDimLevel(NamedTuple):
    """One resolution of a cloud."""

    neighborhoods: AnyDimNeighborhoods
    sampled: Int[Tensor, " m"]
    """Rows that form the next level; unused at the coarsest."""
    parents: Int[Tensor, "p n"]
    """Rows of the next level."""
    weights: Float[Tensor, "p n"]
    """Interpolation weights of the parents."""


class TensorAndVector(NamedTuple):
    """What the network says of each node; padding an input pads both with zeros."""

    tensor: Float[Tensor, "n d d"]
    """Symmetric; its null direction is the normal, see ``null_direction``."""
    side: Float[Tensor, "n d"]
    """``side . normal`` is the logit of a normal pointing outward."""


class _Messages(nn.Module):
    """What each edge has to say: channels that depend on inner products only."""

    def __init__(self, scalars: int, vectors: int, hidden: int) -> None:
        super().__init__()
        self.sender = nn.Linear(scalars, hidden, bias=False)
        self.receiver = nn.Linear(scalars, hidden)
        self.edge = nn.Linear(2 + 3 * vectors, hidden, bias=False)

    def forward(
        self, features: AnyDimFeatures, neighborhoods: AnyDimNeighborhoods
    ) -> tuple[Float[Tensor, "k n h"], Float[Tensor, "d k n v"]]:
        """The channels, and the vectors of the senders."""
        neighbors, offsets, _ = neighborhoods
        own = features.vectors[:, None]
        arriving = features.vectors[:, neighbors]
        offset = offsets[..., None]
        squared = (offset * offset).sum(0)
        invariants = [
            squared,
            (squared + 1e-4).sqrt(),
            (own * offset).sum(0),
            (arriving * offset).sum(0),
            (own * arriving).sum(0),
        ]
        sent = self.sender(features.scalars)[neighbors] + self.receiver(features.scalars)
        return nn.functional.gelu(sent + self.edge(torch.cat(invariants, 2))), arriving


class AnyDimLayer(nn.Module):
    """One round of messages: invariant-weighted sums of offsets and vectors, a residual MLP.

    A neighbour's share of the weighted mean vanishes with its envelope. A node without any
    neighbour hears nothing and keeps finite features.
    """

    def __init__(self, scalars: int, vectors: int, hidden: int) -> None:
        super().__init__()
        self.split = [vectors, vectors, hidden]
        self.messages = _Messages(scalars, vectors, hidden)
        self.strength = nn.Linear(hidden, 2 * vectors + hidden)
        self.mix = nn.Linear(vectors, vectors, bias=False)
        self.update = nn.Sequential(
            nn.Linear(scalars + hidden + 2 * vectors, hidden),
            nn.GELU(),
            nn.Linear(hidden, scalars + vectors),
        )
        self.norm = nn.LayerNorm(scalars)

    def forward(
        self, features: AnyDimFeatures, neighborhoods: AnyDimNeighborhoods
    ) -> AnyDimFeatures:
        """The new features of all nodes."""
        channels, arriving = self.messages(features, neighborhoods)
        weights = _shares(neighborhoods.envelope)[:, :, None]
        along, across, told = (self.strength(channels) * weights).split(self.split, 2)
        mixed = self.mix(arriving)
        offsets = neighborhoods.offsets[..., None]
        pulls = (along * offsets + across * mixed).sum(1)
        own = (pulls * features.vectors).sum(0)
        known = torch.cat([features.scalars, told.sum(0), (pulls * pulls).sum(0), own], 1)
        count = features.scalars.shape[1]
        scalars, gates = self.update(known).tensor_split([count], 1)
        return AnyDimFeatures(
            self.norm(features.scalars + scalars), _bounded(features.vectors + gates * pulls)
        )


class AnyDimHead(nn.Module):
    """Reads T_i = sum_j a_ij r_ij r_ij^T + sum_c b_ic v_ic v_ic^T and the vector of the side."""

    def __init__(self, scalars: int, vectors: int, hidden: int) -> None:
        super().__init__()
        self.messages = _Messages(scalars, vectors, hidden)
        self.along = nn.Linear(hidden, 1)
        self.own = nn.Linear(scalars, 2 * vectors)

    def forward(
        self, features: AnyDimFeatures, neighborhoods: AnyDimNeighborhoods
    ) -> TensorAndVector:
        """The tensor and the vector of all nodes."""
        channels, _ = self.messages(features, neighborhoods)
        strength = (1 + self.along(channels)[:, :, 0]) * _shares(neighborhoods.envelope)
        offsets, vectors = neighborhoods.offsets, features.vectors
        squares, sides = self.own(features.scalars).chunk(2, 1)
        tensor = torch.einsum("akn,bkn->nab", strength * offsets, offsets)
        tensor = tensor + torch.einsum("anv,bnv->nab", squares * vectors, vectors)
        return TensorAndVector((tensor + tensor.mT) / 2, (sides * vectors).sum(2).T)


class AnyDimNetwork(nn.Module):
    """A pyramid of layers, down by sampling and up by interpolation, and a head."""

    def __init__(self, config: AnyDimConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.scalars, config.vectors, config.hidden
        self.down = nn.ModuleList(AnyDimLayer(*sizes) for _ in range(config.levels))
        self.up = nn.ModuleList(AnyDimLayer(*sizes) for _ in range(config.levels - 1))
        self.head = AnyDimHead(*sizes)

    def forward(self, levels: list[AnyDimLevel]) -> TensorAndVector:
        """Tensors and vectors of the points of the finest level, which comes first."""
        features = self._start(levels[0].neighborhoods)
        finer: list[AnyDimFeatures] = []
        for layer, level in zip(self.down, levels, strict=True):
            features = layer(features, level.neighborhoods)
            finer.append(features)
            features = AnyDimFeatures(
                features.scalars[level.sampled], features.vectors[:, level.sampled]
            )
        features = finer.pop()
        for layer, level, skipped in zip(self.up, levels[-2::-1], finer[::-1], strict=True):
            near = features.scalars[level.parents] * level.weights[:, :, None]
            arrows = features.vectors[:, level.parents] * level.weights[:, :, None]
            lowered = AnyDimFeatures(
                skipped.scalars + near.sum(0), skipped.vectors + arrows.sum(1)
            )
            features = layer(lowered, level.neighborhoods)
        return self.head(features, levels[0].neighborhoods)

    def _start(self, neighborhoods: AnyDimNeighborhoods) -> AnyDimFeatures:
        """Nothing is known of a node before its neighbours speak."""
        dimension, _, nodes = neighborhoods.offsets.shape
        new = neighborhoods.offsets.new_zeros
        return AnyDimFeatures(
            new(nodes, self.config.scalars), new(dimension, nodes, self.config.vectors)
        )


def null_direction(
    tensors: Float[Tensor, "n d d"],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """The direction of the smallest eigenvalue, and how clear it is, 0 to 1.

    Unlike the tensor it does not commute with padding: a new coordinate brings a new null
    direction, normal to all there was. So a normal belongs to the dimension it was asked in, the
    one in which the points are a hypersurface: 2-D for contours.

    Returns:
        Unit vectors, whose signs mean nothing, and the gap between the two smallest eigenvalues
        relative to the largest magnitude. Where it is zero, as at an isolated point, nothing
        tells directions apart: the vector is finite but follows no rotation. In one dimension
        there is one direction only and the gap is one.
    """
    values, vectors = torch.linalg.eigh(tensors)
    if values.shape[1] == 1:
        return vectors[:, :, 0], torch.ones_like(values[:, 0])
    largest = values.abs().amax(1)
    gap = (values[:, 1] - values[:, 0]) / torch.where(largest > 0, 2 * largest, 1)
    return vectors[:, :, 0], gap


def _shares(envelope: Float[Tensor, "k n"]) -> Float[Tensor, "k n"]:
    """Envelopes divided by their sums; zero where there is no neighbour."""
    total = envelope.sum(0)
    return envelope / torch.where(total > 0, total, 1)


def _bounded(vectors: Float[Tensor, "d n v"]) -> Float[Tensor, "d n v"]:
    """Vectors of a node, shortened together to a mean square length below one."""
    squared = (vectors * vectors).sum(0).mean(1)
    return vectors / (1 + squared).sqrt()[:, None]
