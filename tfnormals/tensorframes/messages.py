"""Messages of an edge layer in compiled loops, for inference and for training on a CPU.

What edges carry is gathered, multiplied and pooled in parts that stay in the cache, and made again
where gradients want it: to keep it would take a thousand times the memory of a message.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .edge_loops import (
    Real,
    Rows,
    gather_edges,
    pool_messages,
    send_back,
    send_back_sent,
    share_out,
)
from .loops import array, in_chunks, summed_in_parts

POOLED = 16_384
"""Numbers that receivers hear at a time, of all channels: their messages stay in the cache."""


class Place(NamedTuple):
    """Receivers and where they are, as loops take them; see ``edge_loops``."""

    positions: Real
    reach: Real
    radius: float
    frames: Real
    neighbors: Rows


def pooled_messages(
    sent: Float[Tensor, "n h"],
    vectors: Float[Tensor, "n 3*v"],
    weights: Sequence[Float[Tensor, "e h"]],
    place: Place,
    rows: slice,
) -> Float[Tensor, "2 w h"]:
    """What some receivers hear: the maximum and the mean of both hands.

    Args:
        sent: What the senders say.
        vectors: Of the senders, global: all first components, all second, all third.
        weights: Of what is even and of what is odd in the third axis.
        place: Receivers.
        rows: Which of them.
    """
    pooled = sent.new_empty(2, rows.stop - rows.start, sent.shape[1])
    edges = _Edges(sent, vectors, weights, place)
    for part in edges.parts(rows):
        edges.measure(part)
        here = slice(part.start - rows.start, part.stop - rows.start)
        pool_messages(*edges.flat, *_flat(pooled[:, here]))
    return pooled


class PooledMessages(torch.autograd.Function):
    """``pooled_messages`` of all receivers, through which gradients flow; once.

    Of messages that are equally large, the gradient of the maximum goes to the first.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, sent: Tensor, vectors: Tensor, even: Tensor, odd: Tensor, place: Place
    ) -> Tensor:
        """What all receivers hear."""
        ctx.save_for_backward(sent, vectors, even, odd)
        ctx.place = place  # type: ignore[attr-defined]
        count = place.neighbors.shape[1]
        pooled = sent.new_empty(2, count, sent.shape[1])

        def work(rows: slice) -> None:
            pooled[:, rows] = pooled_messages(sent, vectors, (even, odd), place, rows)

        in_chunks(work, count)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of what is sent, vectors and weights."""
        saved: Sequence[Tensor] = ctx.saved_tensors  # type: ignore[attr-defined]
        place: Place = ctx.place  # type: ignore[attr-defined]
        sent, vectors, *weights = saved

        def found(rows: slice) -> list[Tensor]:
            own = [torch.zeros_like(part) for part in saved]
            edges = _Edges(sent, vectors, weights, place)
            for part in edges.parts(rows):
                edges.measure(part)
                share_out(*edges.flat, *_flat(grad[:, part]))
                even, odd = edges.messages  # now their gradients
                for index, share in enumerate(edges.messages):
                    own[2 + index].addmm_(edges.features[index].T, share)
                where = place.neighbors, part.start
                send_back_sent(array(even), *where, array(own[0]))
                # with edges last a product of so few columns takes half the time
                back = array(weights[0] @ even.T), array(weights[1] @ odd.T), array(own[1])
                send_back(place.frames, *where, *back)
            return own

        return *summed_in_parts(found, place.neighbors.shape[1]), None


class _Edges:
    """What the edges of some receivers look like and what they carry, even and odd.

    Args:
        sent: See ``pooled_messages``, as the next three.
        vectors: See above.
        weights: See above.
        place: See above.
    """

    def __init__(
        self, sent: Tensor, vectors: Tensor, weights: Sequence[Tensor], place: Place
    ) -> None:
        self.sent, self.weights, self.place = sent, weights, place
        self.given = array(vectors), array(sent)
        self.width = 0

    def parts(self, rows: slice) -> list[slice]:
        """Parts of the receivers whose messages fit the cache."""
        width = max(1, POOLED // self.sent.shape[1])
        starts = range(rows.start, rows.stop, width)
        return [slice(start, min(start + width, rows.stop)) for start in starts]

    def measure(self, rows: slice) -> None:
        """Fills in everything about the edges of these receivers."""
        if self.width != rows.stop - rows.start:
            self._resize(rows.stop - rows.start)
        gather_edges(*self.place, rows.start, *self.given, *self.filled)
        for message, seen, weight in zip(self.messages, self.features, self.weights, strict=True):
            message.addmm_(seen, weight)

    def _resize(self, width: int) -> None:
        neighbors, channels = len(self.place.neighbors), self.sent.shape[1]
        count, self.width = neighbors * width, width
        self.features = [self.sent.new_empty(count, len(weight)) for weight in self.weights]
        self.messages = [self.sent.new_empty(count, channels) for _ in self.weights]
        self.filled = [array(part) for part in (*self.features, *self.messages)]
        summed = np.zeros((width, channels), self.filled[0].dtype)
        summed[:, channels // 2 :] = 1
        even, odd = (part.reshape(neighbors, -1) for part in self.filled[2:])
        self.flat = even, odd, summed.ravel()
        """What is pooled, and which channels are to be summed."""


def _flat(pooled: Float[Tensor, "2 w h"]) -> tuple[Real, Real]:
    """What is heard in the frames of either hand."""
    right, left = pooled.flatten(1)
    return array(right), array(left)
