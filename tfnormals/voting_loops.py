"""The votes of neighbours in compiled loops, for inference and for training on a CPU.

See ``voting`` for what they mean. What a receiver sees of its neighbours is made again where
gradients want it, as messages are.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .tensorframes.edge_loops import FAINTEST, Real, Rows, envelope
from .tensorframes.loops import array, compiled, in_chunks, summed_in_parts
from .tensorframes.messages import Place

SHORTEST = 1e-6
"""The least length by which heights are divided."""
ROUNDED = 1e-4
"""Keeps the slope of a square root finite at zero."""
BATCH = 64
"""Receivers looked at together, in long loops: over the neighbours of one they are too short to
be done many at a time (35 and 20 ns an edge)."""
Told = tuple[float, float, float, float, float, float]
_SEEN = 13
"""Of a neighbour: length, sines of the receiver's height over its plane and of its own over the
receiver's, their roots, squared cosine of the lines; direction (3); both sines and the cosine
with signs; envelope."""


class Said(NamedTuple):
    """What votes are made of, beside the place of the receivers."""

    lines: Float[Tensor, "n 3"]
    """Of the senders."""
    sent: Float[Tensor, "n h"]
    """Hidden features from the senders."""
    edge_weight: Float[Tensor, "6 h"]
    """Of length, sines of the heights of both, their roots, squared cosine."""
    weigh: Float[Tensor, " h"]
    """From hidden features to the logit of a vote."""
    own: Float[Tensor, ""]
    """What is added to the logit of the receiver's own line."""


def counted_votes(
    said: Said, heard: Float[Tensor, "w h"], place: Place, start: int
) -> tuple[Float[Tensor, "3 w"], Float[Tensor, " w"]]:
    """The sums of the votes on some receivers' lines, and their dissent.

    Args:
        said: By the senders, and how it is weighed.
        heard: Hidden features from these receivers.
        place: Receivers.
        start: The first of these.
    """
    total, dissent = heard.new_empty(3, len(heard)), heard.new_empty(len(heard))
    count_votes(*_given(said, heard, place, start), array(total), array(dissent))
    return total, dissent


class CountedVotes(torch.autograd.Function):
    """``counted_votes`` on all receivers, through which gradients flow; once."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, heard: Tensor, place: Place, *said: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The sums of the votes (3, m) and their dissent (m,); ``said`` is a ``Said``."""
        ctx.save_for_backward(heard, *said)
        ctx.place = place  # type: ignore[attr-defined]
        total, dissent = heard.new_empty(3, len(heard)), heard.new_empty(len(heard))

        def work(rows: slice) -> None:
            some = counted_votes(Said(*said), heard[rows], place, rows.start)
            total[:, rows], dissent[rows] = some

        in_chunks(work, len(heard))
        return total, dissent

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, total: Tensor, dissent: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of what is heard and said."""
        saved: Sequence[Tensor] = ctx.saved_tensors  # type: ignore[attr-defined]
        place: Place = ctx.place  # type: ignore[attr-defined]
        heard, *rest = saved
        said, back_heard = Said(*rest), torch.zeros_like(heard)

        def found(rows: slice) -> list[Tensor]:
            back = [part.new_zeros(part.shape or 1) for part in said]
            grads = array(total[:, rows]), array(dissent[rows])
            given = _given(said, heard[rows], place, rows.start)
            return_votes(*given, *grads, array(back_heard[rows]), *map(array, back))
            return back

        *summed, back_own = summed_in_parts(found, len(heard))
        return back_heard, None, *summed, back_own[0]


def _given(
    said: Said, heard: Tensor, place: Place, start: int
) -> tuple[Real, Real, float, Rows, int, Real, Real, Real, Real, float, Real]:
    """As loops take it."""
    where = place.positions, place.reach, place.radius, place.neighbors, start
    lines, sent, edge_weight, weigh = map(array, said[:-1])
    return *where, lines, sent, edge_weight, weigh, float(said.own), array(heard)


@compiled
def count_votes(
    positions: Real,
    reach: Real,
    radius: float,
    neighbors: Rows,
    start: int,
    lines: Real,
    sent: Real,
    edge_weight: Real,
    weigh: Real,
    own: float,
    heard: Real,
    total: Real,
    dissent: Real,
) -> None:
    """Fills in the votes of the neighbours on the lines of receivers.

    Args:
        positions: (3, n) of the senders.
        reach: (m,) squared distance at which the envelope of a receiver ends.
        radius: The unit of length.
        neighbors: (k, m) rows of the senders; the first is the receiver itself.
        start: The first of the receivers that are looked at.
        lines: See ``Said``, as the next four.
        sent: See above.
        edge_weight: See above.
        weigh: See above.
        own: See above.
        heard: (w, h) hidden features from the receivers.
        total: (3, w) the sum of the votes.
        dissent: (w,) the weighted mean of squared sines.
    """
    k, real = len(neighbors), sent.dtype
    seen, line = np.empty((_SEEN, k, BATCH), real), np.empty((3, k, BATCH), real)
    weight = np.empty((k, BATCH), real)
    for first in range(0, len(heard), BATCH):
        some, here = heard[first : first + BATCH], start + first
        _look(positions, reach, radius, neighbors, here, len(some), lines, seen, line)
        _weigh(neighbors, here, sent, edge_weight, weigh, own, some, seen, weight)
        for w in range(first, first + len(some)):
            total[0, w] = total[1, w] = total[2, w] = dissent[w] = 0
        for j in range(k):
            for w in range(len(some)):
                dissent[first + w] += weight[j, w] * (1 - seen[5, j, w])
            for a in range(3):
                for w in range(len(some)):
                    total[a, first + w] += weight[j, w] * seen[11, j, w] * line[a, j, w]


@compiled
def return_votes(
    positions: Real,
    reach: Real,
    radius: float,
    neighbors: Rows,
    start: int,
    lines: Real,
    sent: Real,
    edge_weight: Real,
    weigh: Real,
    own: float,
    heard: Real,
    grad_total: Real,
    grad_dissent: Real,
    back_heard: Real,
    back_lines: Real,
    back_sent: Real,
    back_edge_weight: Real,
    back_weigh: Real,
    back_own: Real,
) -> None:
    """Adds the gradients of votes to those of what they are made of, ``back``.

    Takes what ``count_votes`` does, and the gradients of its results; ``back_own`` is (1,).
    """
    k, real = len(neighbors), sent.dtype
    seen, line = np.empty((_SEEN, k, BATCH), real), np.empty((3, k, BATCH), real)
    weight, slopes = np.empty((k, BATCH), real), np.empty(6, real)
    along, worth, felt = np.empty(k, real), np.empty(k, real), np.empty(sent.shape[1], real)
    for first in range(0, len(heard), BATCH):
        some = heard[first : first + BATCH]
        _look(positions, reach, radius, neighbors, start + first, len(some), lines, seen, line)
        _weigh(neighbors, start + first, sent, edge_weight, weigh, own, some, seen, weight)
        for w in range(len(some)):
            i, here = start + first + w, neighbors[0, start + first + w]
            nx, ny, nz = line[0, 0, w], line[1, 0, w], line[2, 0, w]
            gx, gy, gz = (
                grad_total[0, first + w],
                grad_total[1, first + w],
                grad_total[2, first + w],
            )
            apart, mean = grad_dissent[first + w], 0.0
            for j in range(k):
                along[j] = gx * line[0, j, w] + gy * line[1, j, w] + gz * line[2, j, w]
                worth[j] = seen[11, j, w] * along[j] + apart * (1 - seen[5, j, w])
                mean += weight[j, w] * worth[j]
            for j in range(k):
                sender, slope = neighbors[j, i], weight[j, w] * (worth[j] - mean)
                if j == 0:
                    back_own[0] += slope
                told = _told(seen, j, w)
                for c in range(len(felt)):
                    felt[c] = _felt(told, edge_weight, c) + sent[sender, c] + some[w, c]
                given_back = back_heard[first + w], back_sent[sender], back_edge_weight, back_weigh
                _return_logit(slope, edge_weight, weigh, told, felt, *given_back, slopes)
                x, y, z = seen[6, j, w], seen[7, j, w], seen[8, j, w]
                vote = weight[j, w] * seen[11, j, w]
                turn = weight[j, w] * (along[j] - 2 * apart * seen[11, j, w])
                turn += 2 * seen[11, j, w] * slopes[5]
                their_tilt = slopes[1] * np.sign(seen[9, j, w])
                my_tilt = slopes[2] * np.sign(seen[10, j, w])
                back_lines[sender, 0] += vote * gx + turn * nx + their_tilt * x
                back_lines[sender, 1] += vote * gy + turn * ny + their_tilt * y
                back_lines[sender, 2] += vote * gz + turn * nz + their_tilt * z
                back_lines[here, 0] += turn * line[0, j, w] + my_tilt * x
                back_lines[here, 1] += turn * line[1, j, w] + my_tilt * y
                back_lines[here, 2] += turn * line[2, j, w] + my_tilt * z


@compiled
def _look(
    positions: Real,
    reach: Real,
    radius: float,
    neighbors: Rows,
    start: int,
    count: int,
    lines: Real,
    seen: Real,
    line: Real,
) -> None:
    """Fills in what some receivers see, (13, k, b), see ``_SEEN``, and their senders' lines.

    Args as for ``count_votes``, and:
        count: Number of receivers.
        line: (3, k, b)
    """
    real: Any = seen.dtype.type
    unit, cut, rounded = real(1 / radius), real(SHORTEST), real(ROUNDED)
    for j in range(len(neighbors)):
        for w in range(count):
            here, sender = neighbors[0, start + w], neighbors[j, start + w]
            for a in range(3):
                seen[6 + a, j, w] = positions[a, sender] - positions[a, here]
                line[a, j, w] = lines[sender, a]
    for j in range(len(neighbors)):
        for w in range(count):
            x, y, z = seen[6, j, w], seen[7, j, w], seen[8, j, w]
            squared = x * x + y * y + z * z
            seen[0, j, w] = math.sqrt(squared) * unit
            seen[12, j, w] = max(envelope(squared, real(reach[start + w])), real(FAINTEST))
        for a in range(3):
            for w in range(count):
                seen[6 + a, j, w] *= unit / max(seen[0, j, w], cut)
        for w in range(count):
            x, y, z = seen[6, j, w], seen[7, j, w], seen[8, j, w]
            seen[9, j, w] = line[0, j, w] * x + line[1, j, w] * y + line[2, j, w] * z
            seen[10, j, w] = line[0, 0, w] * x + line[1, 0, w] * y + line[2, 0, w] * z
        for f in range(2):
            for w in range(count):
                seen[1 + f, j, w] = abs(seen[9 + f, j, w])
            for w in range(count):
                seen[3 + f, j, w] = math.sqrt(seen[1 + f, j, w] + rounded)
        for w in range(count):
            x, y, z = line[0, j, w], line[1, j, w], line[2, j, w]
            cosine = line[0, 0, w] * x + line[1, 0, w] * y + line[2, 0, w] * z
            seen[11, j, w] = cosine
            seen[5, j, w] = cosine * cosine


@compiled
def _weigh(
    neighbors: Rows,
    start: int,
    sent: Real,
    edge_weight: Real,
    weigh: Real,
    own: float,
    heard: Real,
    seen: Real,
    weight: Real,
) -> None:
    """Fills in how some receivers weigh the votes, (k, b); they sum to one for each.

    Args as for ``count_votes``, and:
        heard: (b, h)
        seen: (13, k, b)
    """
    k, count, real = len(neighbors), len(heard), sent.dtype.type
    highest, whole = np.empty(count, sent.dtype), np.empty(count, sent.dtype)
    for j in range(k):
        for w in range(count):
            sender, logit = neighbors[j, start + w], real(own if j == 0 else 0)
            told = _told(seen, j, w)
            for c in range(sent.shape[1]):
                felt = _felt(told, edge_weight, c) + sent[sender, c] + heard[w, c]
                logit += max(felt, real(0)) * weigh[c]
            weight[j, w] = logit
    for w in range(count):
        highest[w], whole[w] = weight[0, w], 0
    for j in range(1, k):
        for w in range(count):
            highest[w] = max(highest[w], weight[j, w])
    for j in range(k):
        for w in range(count):
            weight[j, w] = seen[12, j, w] * math.exp(weight[j, w] - highest[w])
        for w in range(count):
            whole[w] += weight[j, w]
    for j in range(k):
        for w in range(count):
            weight[j, w] /= whole[w]


@compiled
def _told(seen: Real, j: int, w: int) -> Told:
    """What of all that a receiver sees the weight of a vote is made of."""
    return (
        seen[0, j, w],
        seen[1, j, w],
        seen[2, j, w],
        seen[3, j, w],
        seen[4, j, w],
        seen[5, j, w],
    )


@compiled
def _felt(told: Told, edge_weight: Real, c: int) -> float:
    """What this adds to a hidden feature."""
    return (
        told[0] * edge_weight[0, c]
        + told[1] * edge_weight[1, c]
        + told[2] * edge_weight[2, c]
        + told[3] * edge_weight[3, c]
        + told[4] * edge_weight[4, c]
        + told[5] * edge_weight[5, c]
    )


@compiled
def _return_logit(
    slope: float,
    edge_weight: Real,
    weigh: Real,
    told: Told,
    hidden: Real,
    back_heard: Real,
    back_sent: Real,
    back_edge_weight: Real,
    back_weigh: Real,
    slopes: Real,
) -> None:
    """Adds the gradients of one logit, ``slope``, and fills in those of what is seen (6,).

    Args as for ``return_votes``, but of one vote; ``hidden`` becomes its gradient.
    """
    width, real = len(hidden), hidden.dtype.type
    for c in range(width):
        felt = hidden[c]
        back_weigh[c] += slope * max(felt, 0)
        hidden[c] = slope * weigh[c] if felt > 0 else 0
    for c in range(width):
        back_heard[c] += hidden[c]
        back_sent[c] += hidden[c]
    for f in range(6):
        total, seen = real(0), told[f]  # apart, or it would not be done many at a time
        for c in range(width):
            total += edge_weight[f, c] * hidden[c]
        slopes[f] = total
        for c in range(width):
            back_edge_weight[f, c] += seen * hidden[c]
    slopes[1] += slopes[3] / (2 * told[3])
    slopes[2] += slopes[4] / (2 * told[4])
