"""Messages of an edge layer in compiled loops, for inference and for training on a CPU.

What edges carry is gathered, multiplied and pooled in parts that stay in the cache, and made again
where gradients want it: to keep it would take a thousand times the memory of a message.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .edge_loops import Real, Rows, gather_features, pool_messages, send_back, share_out
from .loops import array, in_chunks, summed_in_parts

POOL_CHUNK = 512
"""Receivers whose messages are pooled at a time: messages stay in the cache."""


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
    parts = []
    for start, width in _parts(rows):
        pooled = sent.new_empty(2, width, sent.shape[1])
        _, (even, odd) = _edges(vectors, weights, place, start, width)
        given = array(sent), place.neighbors, start, array(even), array(odd)
        pool_messages(*given, array(pooled))
        parts.append(pooled)
    return torch.cat(parts, 1)


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
            for start, width in _parts(rows):
                features, messages = _edges(vectors, weights, place, start, width)
                even, odd = messages  # and then their gradients
                shared = array(even), array(odd), array(own[0])
                share_out(array(sent), place.neighbors, start, array(grad), *shared)
                for index, share in enumerate(messages):
                    own[2 + index].addmm_(features[index].T, share)
                back = array(even @ weights[0].T), array(odd @ weights[1].T), array(own[1])
                send_back(place.frames, place.neighbors, start, *back)
            return own

        return *summed_in_parts(found, place.neighbors.shape[1]), None


def _parts(rows: slice) -> list[tuple[int, int]]:
    """Starts and widths of parts that fit the cache."""
    starts = range(rows.start, rows.stop, POOL_CHUNK)
    return [(start, min(POOL_CHUNK, rows.stop - start)) for start in starts]


def _edges(
    vectors: Tensor, weights: Sequence[Tensor], place: Place, start: int, width: int
) -> tuple[list[Tensor], list[Tensor]]:
    """What the edges of some receivers look like, even and odd, and what both add to messages."""
    count = len(place.neighbors) * width
    features = [vectors.new_empty(count, len(weight)) for weight in weights]
    seen: list[NDArray[Any]] = [array(part) for part in features]
    gather_features(*place, start, array(vectors), *seen)
    return features, [part @ weight for part, weight in zip(features, weights, strict=True)]
