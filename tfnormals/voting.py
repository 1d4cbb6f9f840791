"""Neighbours vote on a normal: sharp edges from directions that a network has blurred.

A point beside an edge lies in the tangent planes of the neighbours on its own face and far from
those of the others; that product of two learned quantities, height over a neighbour's plane, is
what an edge layer cannot form. Votes are tensors n n^T and weigh what a small network makes of
invariants, so they need neither signs nor a handedness.

Source: tensor voting (Medioni, Lee and Tang 2000) with learned weights; bilateral filtering of
normals (Jones, Durand and Desbrun 2003).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .tensorframes import LazyNeighborhoods, turned
from .tensorframes.layers import Receivers, placed
from .tensorframes.loops import chunked, compilable, rowwise
from .voting_loops import ROUNDED, SHORTEST, CountedVotes, Said, counted_votes

_EDGE_INVARIANTS = 6
_FIRST_OWN_LOGIT = 2.0


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
        if isinstance(receivers, LazyNeighborhoods) and compilable(sent):
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
        offset, length = edges[:3], edges[3].clamp(min=SHORTEST)
        cosine = _dot(local, local[:, :1])
        mine = _dot(local[:, :1], offset).abs() / length
        theirs = _dot(local, offset).abs() / length
        roots = [(sine + ROUNDED).sqrt() for sine in (theirs, mine)]
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
        """The same for some of the receivers, in loops."""
        weights = self.edge.weight.T, self.weigh.weight[0], self.own
        said, place = Said(lines.T.contiguous(), sent, *weights), placed(near)

        def count(rows: slice, known: Tensor) -> tuple[Tensor, Tensor]:
            heard = self.receiver(known)
            if torch.is_grad_enabled():  # all receivers are one chunk
                total, dissent = CountedVotes.apply(heard, place, *said)
                return total, dissent
            return counted_votes(said, heard, place, rows.start)

        return count


def _dot(a: Float[Tensor, "3 k m"], b: Float[Tensor, "3 l m"]) -> Tensor:
    """Products of vectors in the frame of their receiver."""
    return (a[0] * b[0]).addcmul_(a[1], b[1]).addcmul_(a[2], b[2])
