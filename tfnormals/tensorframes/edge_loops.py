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

FAINTEST = 1e-13
"""The least envelope of which a logarithm is taken."""
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
def pool_messages(
    sent: Real, neighbors: Rows, start: int, even: Real, odd: Real, pooled: Real
) -> None:
    """Fills in the pooled messages of both hands: the maximum, then the mean of positive ones.

    Args:
        sent: (n, h) what the senders say.
        neighbors: See above.
        start: See above.
        even: (k w, h) what the edges add to it.
        odd: (k w, h) the part of that which changes sign in mirrored frames.
        pooled: (2, w, h) of right-handed frames, then of left-handed ones.
    """
    k, half, width = neighbors.shape[0], sent.shape[1] // 2, pooled.shape[1]
    for w in range(width):
        right, left = pooled[0, w, :half], pooled[1, w, :half]
        right_mean, left_mean = pooled[0, w, half:], pooled[1, w, half:]
        right[:], left[:] = -np.inf, -np.inf
        right_mean[:], left_mean[:] = 0, 0
        for j in range(k):
            sender, edge = neighbors[j, start + w], j * width + w
            says, adds, turns = sent[sender, :half], even[edge, :half], odd[edge, :half]
            for c in range(half):
                same = says[c] + adds[c]
                one, other = same + turns[c], same - turns[c]
                right[c] = one if one > right[c] else right[c]
                left[c] = other if other > left[c] else left[c]
            says, adds, turns = sent[sender, half:], even[edge, half:], odd[edge, half:]
            for c in range(half):
                same = says[c] + adds[c]
                one, other = same + turns[c], same - turns[c]
                right_mean[c] += max(one, 0)
                left_mean[c] += max(other, 0)
        for c in range(half):
            right_mean[c] /= k
            left_mean[c] /= k


@compiled
def share_out(
    sent: Real, neighbors: Rows, start: int, grad: Real, even: Real, odd: Real, back: Real
) -> None:
    """Replaces what edges add by its gradient, and adds that of what was sent.

    Args:
        sent: See ``pool_messages``, as the next two.
        neighbors: See above.
        start: See above.
        grad: (2, m, h) of what all receivers heard.
        even: (k w, h) what the edges add, then its gradient.
        odd: (k w, h) the part that changes sign, then its gradient.
        back: (n, h) to which the gradient of ``sent`` is added.
    """
    k, half = neighbors.shape[0], sent.shape[1] // 2
    width = len(even) // k
    rights, lefts = np.empty(half, sent.dtype), np.empty(half, sent.dtype)
    right_edge, left_edge = np.empty(half, np.int32), np.empty(half, np.int32)
    for w in range(width):
        i = start + w
        rights[:], lefts[:] = -np.inf, -np.inf
        right_edge[:], left_edge[:] = w, w
        for j in range(k):
            sender, edge = neighbors[j, i], j * width + w
            says, adds, turns = sent[sender, :half], even[edge, :half], odd[edge, :half]
            for c in range(half):
                same = says[c] + adds[c]
                one, other = same + turns[c], same - turns[c]
                right_edge[c] = edge if one > rights[c] else right_edge[c]
                left_edge[c] = edge if other > lefts[c] else left_edge[c]
                rights[c] = one if one > rights[c] else rights[c]
                lefts[c] = other if other > lefts[c] else lefts[c]
        right, left = grad[0, i, half:], grad[1, i, half:]
        for j in range(k):
            sender, edge = neighbors[j, i], j * width + w
            even[edge, :half], odd[edge, :half] = 0, 0
            says, adds, turns = sent[sender, half:], even[edge, half:], odd[edge, half:]
            for c in range(half):
                same = says[c] + adds[c]
                one = right[c] / k if same + turns[c] > 0 else 0
                other = left[c] / k if same - turns[c] > 0 else 0
                adds[c], turns[c] = one + other, one - other
        for c in range(half):
            one, other = grad[0, i, c], grad[1, i, c]
            even[right_edge[c], c] += one
            odd[right_edge[c], c] += one
            even[left_edge[c], c] += other
            odd[left_edge[c], c] -= other
        for j in range(k):
            sender, edge = neighbors[j, i], j * width + w
            for c in range(2 * half):
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
        even: (k w, 5 + 2 v) gradient of what ``gather_features`` fills in.
        odd: (k w, 1 + v) of the rest.
        back: (n, 3 v) to which the gradient of the vectors is added.
    """
    k, v = neighbors.shape[0], back.shape[1] // 3
    width = len(odd) // k
    for j in range(k):
        for w in range(width):
            i, edge = start + w, j * width + w
            sender = neighbors[j, i]
            xx, xy, xz = frames[0, 0, i], frames[0, 1, i], frames[0, 2, i]
            yx, yy, yz = frames[1, 0, i], frames[1, 1, i], frames[1, 2, i]
            zx, zy, zz = frames[2, 0, i], frames[2, 1, i], frames[2, 2, i]
            for c in range(v):
                a, b, d = even[edge, EVEN + c], even[edge, EVEN + v + c], odd[edge, ODD + c]
                back[sender, c] += xx * a + yx * b + zx * d
                back[sender, v + c] += xy * a + yy * b + zy * d
                back[sender, 2 * v + c] += xz * a + yz * b + zz * d
