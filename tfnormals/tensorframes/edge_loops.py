"""The loops over edges, compiled; see ``layers`` for what they mean.

Arrays as there: neighbours are (k, m) rows of senders, the first being the receiver itself; frames
are (3, 3, m). What is gathered has senders first, (n, c). Edges are measured where they are
looked at: to keep them takes six times the memory of the rest, and reading them as long.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .loops import compiled

Real = NDArray[np.floating[Any]]
Rows = NDArray[np.int32]

FAINTEST = 1e-8
"""The least envelope of which a logarithm is taken. Where neighbours are nearly equally far, it
is little but rounding, which a logarithm multiplies by up to one over this."""
EDGE_FEATURES = 6
EVEN, ODD = 5, 1
"""Of the features of an edge, those that stay in mirrored frames and those that change sign."""


@compiled
def squared_distance(there: Real, row: int, here: Real, own: int) -> float:
    """Of two points, columns of (3, n)."""
    x = there[0, row] - here[0, own]
    y = there[1, row] - here[1, own]
    z = there[2, row] - here[2, own]
    return x * x + y * y + z * z


@compiled
def envelope(squared: float, reach: float) -> float:
    """From 1 at the receiver to 0 at its reach; both are squared distances.

    A hard cut would jump where two neighbours change places (DESIGN.md, trap 4).
    """
    share = squared / reach
    return 1 - share * share * share


@compiled
def gather_features(
    positions: Real,
    reach: Real,
    radius: float,
    frames: Real,
    neighbors: Rows,
    start: int,
    vectors: Real,
    even: Real,
    odd: Real,
) -> None:
    """Fills what messages are made of, a row for each edge: even and odd in the third axis.

    Args:
        positions: (3, n) of the senders.
        reach: (m,) squared distance at which the envelope of a receiver ends.
        radius: The unit of length.
        frames: See above.
        neighbors: See above.
        start: The first of the receivers that are looked at; the number of rows tells how many.
        vectors: (n, 3 v) of the senders, global: all first components, all second, all third.
        even: (k w, 5 + 2 v): x and y of the edge in the receiver's frame, its length, the square
            of it, log envelope; x of all vectors, then y.
        odd: (k w, 1 + v): the edge's z, vectors' z.
    """
    k, v = neighbors.shape[0], vectors.shape[1] // 3
    width = len(odd) // k
    for j in range(k):
        for w in range(width):
            i, edge = start + w, j * width + w
            here, sender = neighbors[0, i], neighbors[j, i]
            xx, xy, xz = frames[0, 0, i], frames[0, 1, i], frames[0, 2, i]
            yx, yy, yz = frames[1, 0, i], frames[1, 1, i], frames[1, 2, i]
            zx, zy, zz = frames[2, 0, i], frames[2, 1, i], frames[2, 2, i]
            x = positions[0, sender] - positions[0, here]
            y = positions[1, sender] - positions[1, here]
            z = positions[2, sender] - positions[2, here]
            squared = x * x + y * y + z * z
            weight = max(envelope(squared, reach[i]), FAINTEST)
            x, y, z, squared = x / radius, y / radius, z / radius, squared / (radius * radius)
            even[edge, 0] = xx * x + xy * y + xz * z
            even[edge, 1] = yx * x + yy * y + yz * z
            even[edge, 2] = math.sqrt(squared)
            even[edge, 3] = squared
            even[edge, 4] = math.log(even.dtype.type(weight))
            odd[edge, 0] = zx * x + zy * y + zz * z
            for c in range(v):
                a, b, d = vectors[sender, c], vectors[sender, v + c], vectors[sender, 2 * v + c]
                even[edge, EVEN + c] = xx * a + xy * b + xz * d
                even[edge, EVEN + v + c] = yx * a + yy * b + yz * d
                odd[edge, ODD + c] = zx * a + zy * b + zz * d


@compiled
def gather_sent(sent: Real, neighbors: Rows, start: int, even: Real, odd: Real) -> None:
    """Fills in what messages are before edges add to it, a row for each edge.

    Args:
        sent: (n, h) what the senders say.
        neighbors: See above.
        start: See above.
        even: (k w, h) becomes what the sender says.
        odd: (k w, h) becomes zero: to add a product to it is faster than to write one.
    """
    k, h = neighbors.shape[0], sent.shape[1]
    width = len(even) // k
    for j in range(k):
        for w in range(width):
            sender, edge = neighbors[j, start + w], j * width + w
            for c in range(h):
                even[edge, c] = sent[sender, c]
    odd[:] = 0


@compiled
def gather_edges(
    positions: Real,
    reach: Real,
    radius: float,
    frames: Real,
    neighbors: Rows,
    start: int,
    vectors: Real,
    sent: Real,
    even: Real,
    odd: Real,
    even_message: Real,
    odd_message: Real,
) -> None:
    """``gather_features`` and ``gather_sent``."""
    gather_features(positions, reach, radius, frames, neighbors, start, vectors, even, odd)
    gather_sent(sent, neighbors, start, even_message, odd_message)


@compiled
def pool_messages(even: Real, odd: Real, summed: Real, right: Real, left: Real) -> None:
    """Fills in the pooled messages of both hands: a maximum, or the mean of positive ones.

    One long loop for each neighbour, whatever the channel: loops over a few channels are not done
    many at a time.

    Args:
        even: (k, w h) messages, all channels of one receiver after those of the other.
        odd: (k, w h) the part that changes sign in mirrored frames, to be added to that.
        summed: (w h) 0 where a maximum is wanted, 1 where a mean.
        right: (w h) of right-handed frames.
        left: (w h) of left-handed ones.
    """
    k = len(even)
    for t in range(len(summed)):
        one, other = even[0, t] + odd[0, t], even[0, t] - odd[0, t]
        right[t] = max(one, one - summed[t] * one)
        left[t] = max(other, other - summed[t] * other)
    for j in range(1, k):
        for t in range(len(summed)):
            so_far = summed[t] * right[t]
            right[t] = so_far + max(even[j, t] + odd[j, t], right[t] - so_far)
            so_far = summed[t] * left[t]
            left[t] = so_far + max(even[j, t] - odd[j, t], left[t] - so_far)
    for t in range(len(summed)):
        share = 1 + (k - 1) * summed[t]
        right[t] /= share
        left[t] /= share


@compiled
def share_out(even: Real, odd: Real, summed: Real, right: Real, left: Real) -> None:
    """Replaces messages by their gradient.

    Args:
        even: See ``pool_messages``, as the next two; then the gradient.
        odd: See above.
        summed: See above.
        right: (w h) gradient of what was pooled of right-handed frames.
        left: (w h) of left-handed ones.
    """
    k, real = len(even), even.dtype.type
    rights, lefts = np.full(len(summed), -np.inf, even.dtype), np.full_like(right, -np.inf)
    first_right, first_left = np.zeros_like(right), np.zeros_like(left)
    for j in range(k):
        for t in range(len(summed)):
            first_right[t] = j if even[j, t] + odd[j, t] > rights[t] else first_right[t]
        for t in range(len(summed)):
            rights[t] = max(even[j, t] + odd[j, t], rights[t])
        for t in range(len(summed)):
            first_left[t] = j if even[j, t] - odd[j, t] > lefts[t] else first_left[t]
        for t in range(len(summed)):
            lefts[t] = max(even[j, t] - odd[j, t], lefts[t])
    for j in range(k):
        for t in range(len(summed)):
            part, most = summed[t] / k, 1 - summed[t]
            one = part if even[j, t] + odd[j, t] > 0 else real(0)
            one += most if first_right[t] == j else real(0)
            other = part if even[j, t] - odd[j, t] > 0 else real(0)
            other += most if first_left[t] == j else real(0)
            one, other = one * right[t], other * left[t]
            even[j, t], odd[j, t] = one + other, one - other


@compiled
def send_back_sent(even: Real, neighbors: Rows, start: int, back: Real) -> None:
    """Adds the gradients of messages to those of what senders say.

    Args:
        even: (k w, h) the gradient.
        neighbors: See above.
        start: The first of the receivers.
        back: (n, h) to which it is added.
    """
    k, h = neighbors.shape[0], back.shape[1]
    width = len(even) // k
    for j in range(k):
        for w in range(width):
            sender, edge = neighbors[j, start + w], j * width + w
            for c in range(h):
                back[sender, c] += even[edge, c]


@compiled
def send_back(
    frames: Real, neighbors: Rows, start: int, even: Real, odd: Real, back: Real
) -> None:
    """Adds the gradients of vectors seen in frames to those of the senders' vectors.

    Args:
        frames: See above.
        neighbors: See above.
        start: The first of the receivers.
        even: (5 + 2 v, k w) gradient of what ``gather_features`` fills in, edges last.
        odd: (1 + v, k w) of the rest.
        back: (n, 3 v) to which the gradient of the vectors is added.
    """
    k, v = neighbors.shape[0], back.shape[1] // 3
    width = odd.shape[1] // k
    for j in range(k):
        for w in range(width):
            i, edge = start + w, j * width + w
            sender = neighbors[j, i]
            xx, xy, xz = frames[0, 0, i], frames[0, 1, i], frames[0, 2, i]
            yx, yy, yz = frames[1, 0, i], frames[1, 1, i], frames[1, 2, i]
            zx, zy, zz = frames[2, 0, i], frames[2, 1, i], frames[2, 2, i]
            for c in range(v):
                a, b, d = even[EVEN + c, edge], even[EVEN + v + c, edge], odd[ODD + c, edge]
                back[sender, c] += xx * a + yx * b + zx * d
                back[sender, v + c] += xy * a + yy * b + zy * d
                back[sender, 2 * v + c] += xz * a + yz * b + zz * d
