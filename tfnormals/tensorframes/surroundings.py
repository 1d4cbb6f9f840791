"""What a node sees around it: its neighbours near by, its cloud from afar."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

_SOFTENING = 0.01
"""Fraction of the reach below which a neighbour's direction fades: copies of a point have none."""


class Neighbors(NamedTuple):
    """The neighbours of nodes, one row for each edge."""

    receivers: Int[Tensor, " e"]
    nodes: int
    """Number of nodes that may receive."""
    directions: Float[Tensor, "e d"]
    """Unit vectors, shorter close to the receiver."""
    lengths: Float[Tensor, " e"]
    """Relative to the reach, at least ``_SOFTENING``."""
    envelope: Float[Tensor, " e"]
    """Weights, with two derivatives, that fall from one to zero at the reach."""

    @classmethod
    def at(
        cls,
        offsets: Float[Tensor, "e d"],
        receivers: Int[Tensor, " e"],
        nodes: int,
        reach: float | None = None,
    ) -> "Neighbors":
        """Neighbours at the ends of offsets from their receivers.

        Args:
            offsets: Positions as seen from the receivers.
            receivers: Row of the receiver of each.
            nodes: Number of nodes that may receive.
            reach: Distance at which influence ends; by default that of the farthest neighbour.
        """
        squared = offsets.square().sum(1)
        limit = squared.new_zeros(nodes)
        if reach is None:
            limit = limit.scatter_reduce(0, receivers, squared, "amax")
        else:
            limit = limit + reach**2
        limit = nonzero(limit)[receivers]
        relative = squared / limit
        lengths = (relative + _SOFTENING**2).sqrt()
        directions = offsets / (lengths * limit.sqrt())[:, None]
        return cls(receivers, nodes, directions, lengths, (1 - relative**3).clamp(min=0) ** 3)

    def vectors(self, weights: Float[Tensor, "e a"]) -> list[Float[Tensor, "n d"]]:
        """Weighted mean directions, one for each column of weights; these may be negative."""
        strength = self.envelope[:, None] * weights
        pulls = strength[:, :, None] * self.directions[:, None]
        total = nonzero(self._sum(strength.abs()))
        return list((self._sum(pulls) / total[:, :, None]).unbind(1))

    def waves(self, count: int) -> Float[Tensor, "e {count}"]:
        """cos(pi m length), m = 0, 1, ...: weights that make independent vectors."""
        m = torch.arange(count, device=self.lengths.device)
        return torch.cos(torch.pi * self.lengths[:, None] * m)

    def spread(self) -> Float[Tensor, "n d d"]:
        """Covariances of the neighbours, divided by their traces."""
        offsets = self.directions * self.lengths[:, None]
        weights = self.envelope / nonzero(self._sum(self.envelope))[self.receivers]
        weighted = offsets * weights[:, None]
        mean = self._sum(weighted)
        moment = self._sum(weighted[:, :, None] * offsets[:, None])
        covariance = moment - mean[:, :, None] * mean[:, None]
        return covariance / nonzero(_trace(covariance))

    def _sum(self, values: Float[Tensor, "e ..."]) -> Float[Tensor, "n ..."]:
        return _sums(values, self.receivers, self.nodes)


def neighbors(
    pos: Float[Tensor, "n d"], edge_index: Int[Tensor, "2 e"], reach: float | None
) -> Neighbors:
    """The neighbours of nodes along edges from senders to receivers."""
    senders, receivers = edge_index
    return Neighbors.at(pos[senders] - pos[receivers], receivers, len(pos), reach)


def views_from_afar(
    pos: Float[Tensor, "n d"], batch: Int[Tensor, " n"] | None
) -> list[Float[Tensor, "n d"]]:
    """For each node, d - 1 vectors that tell where in its cloud it is; lengths about one or less.

    They are y, y + M y, y + M y + M^2 y, ..., so that each is new whatever axes the ones before
    became. y is the position from the centre, drawn in where it is far off; M is the cloud as
    seen from the node, mean_j (1/9 + y_i . y_j)^2 y_j y_j^T divided by its trace and times d:
    its fourth moments tell the diagonals of a cubic grid from its edges.
    """
    dimension = pos.shape[1]
    clouds, count = cloud_of(pos, batch)
    y = pos - mean(pos, clouds, count)[clouds]
    size = mean(y.square().sum(1, keepdim=True), clouds, count)[clouds]
    y = y / nonzero(size).sqrt()
    y = y / (1 + y.square().sum(1, keepdim=True)).sqrt()
    affine = torch.cat([torch.full_like(y[:, :1], 1 / 3), y], 1)
    view = (affine[:, :, None] * affine[:, None]).flatten(1)

    def seen(axis: int) -> Float[Tensor, "n d"]:
        """A row of M; all at once would take (d + 1)^2 d^2 numbers for each node."""
        moments = mean(view[:, :, None] * (y[:, axis, None] * y)[:, None], clouds, count)
        return (view[:, :, None] * moments[clouds]).sum(1)

    matrix = torch.stack([seen(axis) for axis in range(dimension)], 1)
    matrix = dimension * matrix / nonzero(_trace(matrix))
    vector = y + mean(y, clouds, count)[clouds]  # not zero at the centre of a lopsided cloud
    vectors = [vector]
    for _ in range(dimension - 2):
        vector = (matrix * vector[:, None]).sum(2)
        vectors.append(vectors[-1] + vector)
    return vectors


def cloud_of(pos: Tensor, batch: Tensor | None) -> tuple[Int[Tensor, " n"], int]:
    """The cloud of each node and the number of clouds."""
    if batch is None:
        return torch.zeros(len(pos), dtype=torch.long, device=pos.device), 1
    return batch, int(batch.max()) + 1


def mean(values: Float[Tensor, "n ..."], groups: Tensor, count: int) -> Float[Tensor, "b ..."]:
    """Means of groups of rows."""
    members = _sums(torch.ones_like(groups), groups, count).clamp(min=1)
    return _sums(values, groups, count) / members.view(-1, *[1] * (values.ndim - 1))


def _sums(values: Float[Tensor, "n ..."], groups: Tensor, count: int) -> Float[Tensor, "b ..."]:
    return values.new_zeros(count, *values.shape[1:]).index_add(0, groups, values)


def _trace(matrices: Float[Tensor, "n d d"]) -> Float[Tensor, "n 1 1"]:
    return matrices.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]


def nonzero(values: Tensor) -> Tensor:
    """Divisors: one instead of zero."""
    return torch.where(values > 0, values, 1)
