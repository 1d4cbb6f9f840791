"""Neighbours vote on a normal: sharp edges from directions that a network has blurred.

A point beside an edge lies in the tangent planes of the neighbours on its own face and far from
those of the others; that product of two learned quantities, height over a neighbour's plane, is
what an edge layer cannot form. Votes are tensors n n^T and weigh what a small network makes of
invariants, so they need neither signs nor a handedness.

Source: tensor voting (Medioni, Lee and Tang 2000) with learned weights; bilateral filtering of
normals (Jones, Durand and Desbrun 2003).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .tensorframes import LazyNeighborhoods, turned
from .tensorframes.edge_loops import FAINTEST, Real, Rows, envelope
from .tensorframes.layers import Receivers
from .tensorframes.loops import array, chunked, compilable, compiled, rowwise

_EDGE_INVARIANTS = 6
_FIRST_OWN_LOGIT = 2.0
_SHORTEST = 1e-6
"""The least length by which heights are divided."""
_ROUNDED = 1e-4
"""Keeps the slope of a square root finite at zero."""


class Directions(NamedTuple):
    """Directions of points and how far to trust them."""

    lines: Float[Tensor, "3 n"]
    """Unit vectors along the normals, either way."""
    doubt: Float[Tensor, " n"]
    """Logit of the expected sine of the angle between line and normal."""


class Voting(nn.Module):
    """One round of votes.

    The new line of point i is ``normalize(sum_j w_ij (n_i . n_j) n_j)``, one power iteration on
    ``sum_j w_ij n_j n_j^T``; the weights are a softmax over the neighbours and i itself.

    Args:
        context: Number of invariants that describe a point.
        hidden: Width of the weighing network.
    """

    def __init__(self, context: int, hidden: int) -> None:
        super().__init__()
        self.sender = nn.Linear(context + 1, hidden, bias=False)
        self.edge = nn.Linear(_EDGE_INVARIANTS, hidden, bias=False)
        self.receiver = nn.Linear(context + 1, hidden)
        self.weigh = nn.Linear(hidden, 1, bias=False)
        self.own = nn.Parameter(torch.tensor(_FIRST_OWN_LOGIT))
        self.doubt = nn.Sequential(nn.Linear(context + 3, hidden), nn.GELU(), nn.Linear(hidden, 1))
        for start in (self.weigh, self.doubt[2]):
            nn.init.zeros_(start.weight)  # type: ignore[arg-type]

    def forward(
        self,
        before: Directions,
        context: Float[Tensor, "n c"],
        receivers: Receivers,
    ) -> Directions:
        """Directions after the votes."""
        (known,) = chunked(
            lambda rows: [torch.cat([context[rows], before.doubt[rows, None]], 1)],
            len(context),
            (0,),
            context.device,
        )
        sent = rowwise(self.sender, known)
        count = None
        loops = compilable(sent) and not torch.is_grad_enabled()
        if isinstance(receivers, LazyNeighborhoods) and loops:
            count = self._counting(before.lines, sent, receivers)

        def receive(rows: slice) -> Directions:
            here, some = known[rows], receivers.among(rows)
            total, dissent = (
                count(rows, here) if count else self._counted(before.lines, sent, here, some)
            )
            norm = (total**2).sum(0).sqrt()
            change = self.doubt(torch.cat([here, dissent[:, None], norm[:, None]], 1))[:, 0]
            return Directions(total / norm, here[:, -1] + change)

        return Directions(*chunked(receive, len(known), (1, 0), known.device))

    def _counted(
        self,
        lines: Float[Tensor, "3 n"],
        sent: Float[Tensor, "n h"],
        known: Float[Tensor, "m c"],
        receivers: Receivers,
    ) -> tuple[Float[Tensor, "3 m"], Float[Tensor, " m"]]:
        """The sum of the votes, and their dissent: the mean squared sine from the old line."""
        edges, (k, m) = receivers.edges, receivers.neighbors.shape
        rows = receivers.neighbors.reshape(-1)
        frames = receivers.frames.contiguous()
        local = turned(lines.index_select(1, rows).view(3, k, m), frames)
        offset, length = edges[:3], edges[3].clamp(min=_SHORTEST)
        cosine = _dot(local, local[:, :1])
        mine = _dot(local[:, :1], offset).abs() / length
        theirs = _dot(local, offset).abs() / length
        roots = [(sine + _ROUNDED).sqrt() for sine in (theirs, mine)]
        seen = torch.stack([edges[3], theirs, mine, *roots, cosine**2]).view(-1, k * m)
        hidden = sent.index_select(0, rows).addmm_(seen.T, self.edge.weight.T).view(k, m, -1)
        hidden = torch.relu(hidden + self.receiver(known))
        logit = self.weigh(hidden)[:, :, 0] + edges[5]
        weight = torch.cat([logit[:1] + self.own, logit[1:]]).softmax(0)
        total = (local * (weight * cosine)).sum(1)
        return turned(total, frames, back=True), (weight * (1 - cosine**2)).sum(0)

    def _counting(
        self, lines: Float[Tensor, "3 n"], sent: Float[Tensor, "n h"], near: LazyNeighborhoods
    ) -> Callable[[slice, Tensor], tuple[Float[Tensor, "3 m"], Float[Tensor, " m"]]]:
        """The same for some of the receivers, in loops, where no gradient is kept."""
        place = array(near.positions), array(near.reach), near.radius, array(near.neighbors)
        says = array(lines.T), array(sent)
        edge, weigh = array(self.edge.weight.T), array(self.weigh.weight[0])
        own = float(self.own)

        def count(rows: slice, known: Tensor) -> tuple[Tensor, Tensor]:
            total, dissent = sent.new_empty(3, len(known)), sent.new_empty(len(known))
            heard = array(self.receiver(known))
            _vote(*place, rows.start, *says, heard, edge, weigh, own, array(total), array(dissent))
            return total, dissent

        return count


@compiled
def _vote(
    positions: Real,
    reach: Real,
    radius: float,
    neighbors: Rows,
    start: int,
    lines: Real,
    sent: Real,
    heard: Real,
    edge_weight: Real,
    weigh: Real,
    own: float,
    total: Real,
    dissent: Real,
) -> None:
    """Fills in the votes of the neighbours on the lines of receivers; see ``Voting``.

    Args:
        positions: (3, n) of the senders.
        reach: (m,) squared distance at which the envelope of a receiver ends.
        radius: The unit of length.
        neighbors: (k, m) rows of the senders; the first is the receiver itself.
        start: The first of the receivers that are looked at.
        lines: (n, 3) of the senders.
        sent: (n, h) hidden features from the senders.
        heard: (w, h) from the receivers.
        edge_weight: (6, h) of length, sines of the heights of both, their roots, squared cosine.
        weigh: (h,) from hidden features to the logit of a vote.
        own: What is added to the logit of the receiver's own line.
        total: (3, w) the sum of the votes.
        dissent: (w,) the weighted mean of squared sines.
    """
    k, hidden = neighbors.shape[0], sent.shape[1]
    logit, cosine = np.empty(k, sent.dtype), np.empty(k, sent.dtype)
    for w in range(len(heard)):
        i = start + w
        here = neighbors[0, i]
        nx, ny, nz = lines[here, 0], lines[here, 1], lines[here, 2]
        highest = -np.inf
        for j in range(k):
            sender = neighbors[j, i]
            x = positions[0, sender] - positions[0, here]
            y = positions[1, sender] - positions[1, here]
            z = positions[2, sender] - positions[2, here]
            squared = x * x + y * y + z * z
            x, y, z = x / radius, y / radius, z / radius
            length = math.sqrt(squared) / radius
            sx, sy, sz = lines[sender, 0], lines[sender, 1], lines[sender, 2]
            cosine[j] = nx * sx + ny * sy + nz * sz
            mine = abs(nx * x + ny * y + nz * z) / max(length, _SHORTEST)
            theirs = abs(sx * x + sy * y + sz * z) / max(length, _SHORTEST)
            theirs_root, mine_root = math.sqrt(theirs + _ROUNDED), math.sqrt(mine + _ROUNDED)
            square = cosine[j] * cosine[j]
            value = math.log(sent.dtype.type(max(envelope(squared, reach[i]), FAINTEST)))
            for c in range(hidden):
                seen = (
                    length * edge_weight[0, c]
                    + theirs * edge_weight[1, c]
                    + mine * edge_weight[2, c]
                    + theirs_root * edge_weight[3, c]
                    + mine_root * edge_weight[4, c]
                    + square * edge_weight[5, c]
                )
                value += max(sent[sender, c] + seen + heard[w, c], 0) * weigh[c]
            logit[j] = value + own if j == 0 else value
            highest = max(highest, logit[j])
        whole = x = y = z = apart = 0.0
        for j in range(k):
            sender = neighbors[j, i]
            weight = math.exp(logit[j] - highest)
            whole += weight
            apart += weight * (1 - cosine[j] * cosine[j])
            weight *= cosine[j]
            x += weight * lines[sender, 0]
            y += weight * lines[sender, 1]
            z += weight * lines[sender, 2]
        total[0, w], total[1, w], total[2, w] = x / whole, y / whole, z / whole
        dissent[w] = apart / whole


def _dot(a: Float[Tensor, "3 k m"], b: Float[Tensor, "3 l m"]) -> Tensor:
    """Products of vectors in the frame of their receiver."""
    return (a[0] * b[0]).addcmul_(a[1], b[1]).addcmul_(a[2], b[2])
