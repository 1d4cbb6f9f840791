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
    k, width = neighbors.shape[0], sent.shape[1]
    seen, hidden = np.empty((k, _SEEN), sent.dtype), np.empty((k, width), sent.dtype)
    senders, weight = np.empty(k, neighbors.dtype), np.empty(k, sent.dtype)
    for w in range(len(heard)):
        i = start + w
        for j in range(k):
            senders[j] = neighbors[j, i]
        given = positions, reach[i], radius, senders, lines, sent, edge_weight, weigh, own
        _weigh_votes(*given, heard[w], seen, hidden, weight)
        x = y = z = apart = 0.0
        for j in range(k):
            sender, cosine = senders[j], seen[j, 11]
            apart += weight[j] * (1 - cosine * cosine)
            x += weight[j] * cosine * lines[sender, 0]
            y += weight[j] * cosine * lines[sender, 1]
            z += weight[j] * cosine * lines[sender, 2]
        total[0, w], total[1, w], total[2, w], dissent[w] = x, y, z, apart


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
    k, width = neighbors.shape[0], sent.shape[1]
    seen, hidden = np.empty((k, _SEEN), sent.dtype), np.empty((k, width), sent.dtype)
    senders, weight = np.empty(k, neighbors.dtype), np.empty(k, sent.dtype)
    along, worth = np.empty(k, sent.dtype), np.empty(k, sent.dtype)
    slopes = np.empty(6, sent.dtype)
    for w in range(len(heard)):
        i = start + w
        for j in range(k):
            senders[j] = neighbors[j, i]
        given = positions, reach[i], radius, senders, lines, sent, edge_weight, weigh, own
        _weigh_votes(*given, heard[w], seen, hidden, weight)
        here = senders[0]
        nx, ny, nz = lines[here, 0], lines[here, 1], lines[here, 2]
        gx, gy, gz, apart = grad_total[0, w], grad_total[1, w], grad_total[2, w], grad_dissent[w]
        mean = 0.0
        for j in range(k):
            sender, cosine = senders[j], seen[j, 11]
            along[j] = gx * lines[sender, 0] + gy * lines[sender, 1] + gz * lines[sender, 2]
            worth[j] = cosine * along[j] + apart * (1 - cosine * cosine)
            mean += weight[j] * worth[j]
        for j in range(k):
            sender, slope = senders[j], weight[j] * (worth[j] - mean)
            if j == 0:
                back_own[0] += slope
            given_back = back_heard[w], back_sent[sender], back_edge_weight, back_weigh
            _return_logit(slope, edge_weight, weigh, seen[j], hidden[j], *given_back, slopes)
            x, y, z = seen[j, 6], seen[j, 7], seen[j, 8]
            theirs, mine, cosine = seen[j, 9], seen[j, 10], seen[j, 11]
            vote = weight[j] * cosine
            turn = weight[j] * (along[j] - 2 * apart * cosine) + 2 * cosine * slopes[5]
            their_tilt, my_tilt = slopes[1] * np.sign(theirs), slopes[2] * np.sign(mine)
            back_lines[sender, 0] += vote * gx + turn * nx + their_tilt * x
            back_lines[sender, 1] += vote * gy + turn * ny + their_tilt * y
            back_lines[sender, 2] += vote * gz + turn * nz + their_tilt * z
            back_lines[here, 0] += turn * lines[sender, 0] + my_tilt * x
            back_lines[here, 1] += turn * lines[sender, 1] + my_tilt * y
            back_lines[here, 2] += turn * lines[sender, 2] + my_tilt * z


@compiled
def _weigh_votes(
    positions: Real,
    reach: float,
    radius: float,
    senders: Rows,
    lines: Real,
    sent: Real,
    edge_weight: Real,
    weigh: Real,
    own: float,
    heard: Real,
    seen: Real,
    hidden: Real,
    weight: Real,
) -> None:
    """Fills in what one receiver sees, and how it weighs the votes.

    Args as for ``count_votes``, but of one receiver, and:
        senders: (k,) rows of its neighbours; the first is the receiver itself.
        seen: (k, 13), see ``_SEEN``.
        hidden: (k, h) before the negative ones are cut off.
        weight: (k,) of the votes; they sum to one.
    """
    (k, width), here = hidden.shape, senders[0]
    real: Any = sent.dtype.type
    nx, ny, nz = lines[here, 0], lines[here, 1], lines[here, 2]
    unit, cut, end = real(1 / radius), real(SHORTEST), real(reach)
    highest = real(-np.inf)
    for j in range(k):
        sender = senders[j]
        x = real(positions[0, sender] - positions[0, here])
        y = real(positions[1, sender] - positions[1, here])
        z = real(positions[2, sender] - positions[2, here])
        squared = x * x + y * y + z * z
        length = math.sqrt(squared) * unit
        scale = unit / max(length, cut)
        x, y, z = x * scale, y * scale, z * scale
        sx, sy, sz = lines[sender, 0], lines[sender, 1], lines[sender, 2]
        theirs, mine = sx * x + sy * y + sz * z, nx * x + ny * y + nz * z
        cosine = nx * sx + ny * sy + nz * sz
        seen[j, 0], seen[j, 1], seen[j, 2] = length, abs(theirs), abs(mine)
        seen[j, 3] = math.sqrt(abs(theirs) + real(ROUNDED))
        seen[j, 4] = math.sqrt(abs(mine) + real(ROUNDED))
        seen[j, 5] = cosine * cosine
        seen[j, 6], seen[j, 7], seen[j, 8] = x, y, z
        seen[j, 9], seen[j, 10], seen[j, 11] = theirs, mine, cosine
        seen[j, 12] = max(envelope(squared, end), real(FAINTEST))
        logit = real(own if j == 0 else 0)
        for c in range(width):
            felt = (
                seen[j, 0] * edge_weight[0, c]
                + seen[j, 1] * edge_weight[1, c]
                + seen[j, 2] * edge_weight[2, c]
                + seen[j, 3] * edge_weight[3, c]
                + seen[j, 4] * edge_weight[4, c]
                + seen[j, 5] * edge_weight[5, c]
            )
            felt += sent[sender, c] + heard[c]
            hidden[j, c] = felt
            logit += max(felt, 0) * weigh[c]
        weight[j] = logit
        highest = max(highest, logit)
    whole = real(0)
    for j in range(k):
        weight[j] = seen[j, 12] * math.exp(weight[j] - highest)
        whole += weight[j]
    for j in range(k):
        weight[j] /= whole


@compiled
def _return_logit(
    slope: float,
    edge_weight: Real,
    weigh: Real,
    seen: Real,
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
        total, told = real(0), seen[f]  # apart, or it would not be done many at a time
        for c in range(width):
            total += edge_weight[f, c] * hidden[c]
        slopes[f] = total
        for c in range(width):
            back_edge_weight[f, c] += told * hidden[c]
    slopes[1] += slopes[3] / (2 * seen[3])
    slopes[2] += slopes[4] / (2 * seen[4])
