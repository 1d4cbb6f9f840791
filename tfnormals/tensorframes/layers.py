"""The edge layer: messages carry scalars and vectors from frame to frame.

Source: Lippmann et al., "Beyond Canonicalization", ICLR 2025, eq. 7 (tensorial messages). Vectors
are kept in global coordinates between layers, so that each is turned once per edge into the frame
of its receiver and never between two frames: rho(R_i R_j^T) = rho(R_i) rho(R_j)^T. Every layer
looks with right-handed and with left-handed frames and averages, so that no handedness has to be
decided anywhere (DESIGN.md section 2, trap 1).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from .edge_loops import EDGE_FEATURES, FAINTEST
from .frames import turned
from .handedness import parity_of
from .loops import array, chunked, compilable, rowwise
from .messages import Place, PooledMessages, pooled_messages

POOL_CHUNK = 512
"""Receivers whose messages are pooled at a time, where there are no loops."""


class Features(NamedTuple):
    """Node features: invariant scalars, and vectors in global coordinates."""

    scalars: Float[Tensor, "n s"]
    vectors: Float[Tensor, "3 v n"]


class Neighborhoods(NamedTuple):
    """Receivers of an edge layer; receivers are the last axis where there are others."""

    frames: Float[Tensor, "3 3 m"]
    neighbors: Int[Tensor, "k m"]
    """Rows of the senders; the first is the receiver itself. As many receivers as there are
    senders are the senders in their order."""
    edges: Float[Tensor, "6 k m"]
    """Offset in the receiver's frame (3), length, squared length, log envelope."""
    moments: Float[Tensor, "m c"]
    """Invariants of the receiver's neighbourhood."""

    def among(self, rows: "slice | Tensor") -> "Neighborhoods":
        """Some of the receivers."""
        return Neighborhoods(
            self.frames[..., rows],
            self.neighbors[..., rows],
            self.edges[..., rows],
            self.moments[rows],
        )

    def to(self, device: torch.device) -> "Neighborhoods":
        """The same on another device."""
        return Neighborhoods(*(part.to(device) for part in self))


class LazyNeighborhoods(NamedTuple):
    """Neighbourhoods whose edges, most of their memory, are measured only when asked for."""

    frames: Float[Tensor, "3 3 m"]
    neighbors: Int[Tensor, "k m"]
    """As ``Neighborhoods.neighbors``."""
    positions: Float[Tensor, "3 n"]
    """Of the senders, float64."""
    reach: Float[Tensor, " m"]
    """Squared distance at which the envelope of a receiver ends, float64."""
    radius: float
    """The unit of length."""
    moments: Float[Tensor, "m c"]

    @property
    def edges(self) -> Float[Tensor, "6 k m"]:
        """As ``Neighborhoods.edges``, in the type of the frames."""
        near = self.positions.index_select(1, self.neighbors.reshape(-1))
        near = near.view(3, *self.neighbors.shape)
        offset = near.sub_(near[:, :1].clone())
        squared = (offset**2).sum(0)
        envelope = (1 - (squared / self.reach) ** 3).to(self.frames.dtype)
        local = turned(offset.div_(self.radius), self.frames)
        length = squared.div_(self.radius**2).to(local)
        rest = [length.sqrt(), length, envelope.clamp_(min=FAINTEST).log_()]
        return torch.cat([local, torch.stack(rest)])

    def among(self, rows: "slice | Tensor") -> "LazyNeighborhoods":
        """Some of the receivers."""
        return LazyNeighborhoods(
            self.frames[..., rows],
            self.neighbors[..., rows],
            self.positions,
            self.reach[rows],
            self.radius,
            self.moments[rows],
        )

    def to(self, device: torch.device) -> "LazyNeighborhoods":
        """The same on another device."""
        return LazyNeighborhoods(
            self.frames.to(device),
            self.neighbors.to(device),
            self.positions.to(device),
            self.reach.to(device),
            self.radius,
            self.moments.to(device),
        )


Receivers: TypeAlias = Neighborhoods | LazyNeighborhoods
"""Receivers with their edges, or with what it takes to measure them."""


def measured(receivers: Receivers) -> Neighborhoods:
    """The receivers with all edges, through which gradients may flow."""
    frames, neighbors = receivers.frames, receivers.neighbors

    def measure(rows: slice) -> list[Tensor]:
        return [receivers.among(rows).edges]

    (edges,) = chunked(measure, neighbors.shape[1], (2,), frames.device)
    return Neighborhoods(frames, neighbors, edges, receivers.moments)


class EdgeLayer(nn.Module):
    """One round of tensorial messages, a maximum and a mean over neighbours, a residual MLP.

    The log envelope is added to every message, which takes a neighbour out of the maximum, and
    through the ReLU out of the mean, continuously as it reaches the edge of the neighbourhood.
    All of it is done in the frames given and in their mirror images, whose messages differ in the
    sign of what is odd in the third axis; the mean of the two is what the layer says.

    Args:
        inputs: Number of scalars and of vectors coming in.
        outputs: Number of scalars and of vectors going out.
        hidden: Message channels; half are pooled by maximum, half by mean.
        moments: Sign that each invariant of a neighbourhood takes in mirrored frames.
    """

    odd: Tensor
    """Of what a receiver sees, the rows that change sign in mirrored frames."""

    def __init__(
        self,
        inputs: tuple[int, int],
        outputs: tuple[int, int],
        hidden: int,
        moments: Sequence[float],
    ) -> None:
        super().__init__()
        (scalars, vectors), (scalars_out, vectors_out) = inputs, outputs
        self.outputs = outputs
        self.sender = nn.Linear(scalars, hidden, bias=False)
        self.edge = nn.Linear(EDGE_FEATURES - 1 + 3 * vectors, hidden, bias=False)
        self.receiver = nn.Linear(scalars + 3 * vectors + len(moments), hidden)
        self.norm = nn.LayerNorm(hidden)
        self.mlp = nn.Sequential(
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, scalars_out + 3 * vectors_out),
        )
        same = inputs == outputs
        self.skip_scalars = nn.Identity() if same else nn.Linear(scalars, scalars_out, bias=False)
        self.skip_vectors = nn.Identity() if same else VectorLinear(vectors, vectors_out)
        parity = torch.cat([parity_of(scalars, vectors), torch.tensor(moments, device="cpu")])
        self.register_buffer("odd", torch.nonzero(parity < 0)[:, 0], persistent=False)

    def forward(
        self,
        features: Features,
        receivers: Receivers,
        among: Int[Tensor, " m"] | None = None,
    ) -> Features:
        """Features of the receivers, or of some among them, given those of the senders."""
        sent, weights = rowwise(self.sender, features.scalars), self._edge_weights()
        hear = None
        if isinstance(receivers, LazyNeighborhoods) and compilable(sent):
            hear = _hearing(sent, features.vectors, weights, receivers, among)

        def receive(rows: slice) -> Features:
            some = receivers.among(rows if among is None else among[rows])
            if hear is None or isinstance(some, Neighborhoods):
                heard = _heard(sent, features.vectors, weights, some)
            else:
                heard = hear(some, rows)
            own = rows if all_of_them else some.neighbors[0]
            return self._updated(features, own, some, heard)

        count = receivers.neighbors.shape[1] if among is None else len(among)
        all_of_them = among is None and count == len(features.scalars)
        return Features(*chunked(receive, count, (0, 2), sent.device))

    def _updated(
        self,
        features: Features,
        rows: "slice | Tensor",
        receivers: Receivers,
        pooled: Float[Tensor, "2 m h"],
    ) -> Features:
        """Features of the receivers, these rows, after what they have heard."""
        frames = receivers.frames.contiguous()
        own, before = _taken(features, rows)
        local = turned(before, frames).flatten(0, 1).T
        seen = torch.cat([own, local, receivers.moments], 1)
        right, turning = self.receiver(seen), self.receiver.weight.index_select(1, self.odd)
        left = right.addmm(seen.index_select(1, self.odd).to(right), turning.T.to(right), alpha=-2)
        first, widen, second, _ = self.mlp
        hidden = second(widen(first(self.norm(torch.stack([right, left]).add_(pooled)))))
        scalars, vectors = self._said(hidden)
        moved = turned(vectors.to(own.dtype), frames, back=True)
        return Features(
            self.skip_scalars(own) + scalars.to(own.dtype), self.skip_vectors(before) + moved
        )

    def _said(self, hidden: Float[Tensor, "2 m h"]) -> Features:
        """The mean of what both hands say; vectors in the given frames.

        Of what is even in the third axis the hands say the same sum, of the rest the difference.
        """
        (scalars, vectors), last = self.outputs, self.mlp[-1]
        assert isinstance(last, nn.Linear)
        even, half = scalars + 2 * vectors, last.weight / 2
        same = nn.functional.linear(hidden[0] + hidden[1], half[:even], last.bias[:even])
        along = nn.functional.linear(hidden[0] - hidden[1], half[even:])
        arrows = torch.cat([same[:, scalars:].T, along.T]).view(3, vectors, -1)
        return Features(same[:, :scalars], arrows)

    def _edge_weights(self) -> tuple[Float[Tensor, "e h"], Float[Tensor, "o h"]]:
        """The weights of what is even and of what is odd; that of the log envelope is one."""
        weight = self.edge.weight.T
        x_y, z, lengths, vectors = weight.tensor_split([2, 3, EDGE_FEATURES - 1])
        across, along = vectors.tensor_split([2 * len(vectors) // 3])
        even = torch.cat([x_y, lengths, weight.new_ones(1, weight.shape[1]), across])
        return even, torch.cat([z, along])


def _heard(
    sent: Float[Tensor, "n h"],
    vectors: Float[Tensor, "3 v n"],
    weights: Sequence[Float[Tensor, "e h"]],
    receivers: Receivers,
) -> Float[Tensor, "2 m h"]:
    """What receivers hear; ``messages.pooled_messages`` as a chain of tensor operations."""
    neighbors, edges, v = receivers.neighbors, receivers.edges, vectors.shape[1]
    (k, m), rows = neighbors.shape, neighbors.reshape(-1)
    arriving = vectors.flatten(0, 1).index_select(1, rows).view(3, v, k, m)
    local = turned(arriving, receivers.frames.contiguous())
    flat = edges.reshape(EDGE_FEATURES, -1)
    even = torch.cat([flat[:2], flat[3:], local[:2].view(2 * v, k * m)])
    odd = torch.cat([flat[2:3], local[2].view(v, k * m)])
    even_weight, odd_weight = weights
    message = sent.index_select(0, rows).addmm_(even.T.to(sent), even_weight.to(sent))
    change = odd.T.to(sent) @ odd_weight.to(sent)  # to bfloat16 under autocast
    return _Pooled.apply(message.view(k, m, -1), change.view(k, m, -1))


def _hearing(
    sent: Float[Tensor, "n h"],
    vectors: Float[Tensor, "3 v n"],
    weights: Sequence[Float[Tensor, "e h"]],
    receivers: LazyNeighborhoods,
    among: Int[Tensor, " m"] | None,
) -> Callable[[LazyNeighborhoods, slice], Float[Tensor, "2 m h"]]:
    """The pooled messages of both hands, in loops."""
    arrows = rowwise(Tensor.contiguous, vectors.flatten(0, 1).T)
    whole = placed(receivers) if among is None else None

    def hear(some: LazyNeighborhoods, rows: slice) -> Float[Tensor, "2 m h"]:
        place = whole or placed(some)
        if torch.is_grad_enabled():  # all receivers are one chunk
            heard: Tensor = PooledMessages.apply(sent, arrows, *weights, place)
            return heard
        first, count = rows.start if whole else 0, some.neighbors.shape[1]
        return pooled_messages(sent, arrows, weights, place, slice(first, first + count))

    return hear


def _taken(features: Features, rows: "slice | Tensor") -> Features:
    """Features of some of the nodes."""
    scalars, vectors = features
    if isinstance(rows, slice):
        if rows == slice(0, len(scalars)):  # the gradient of a slice is filled with zeros first
            return features
        return Features(scalars[rows], vectors[..., rows])
    return Features(scalars.index_select(0, rows), vectors.index_select(2, rows))


def placed(near: LazyNeighborhoods) -> Place:
    """Receivers as loops take them."""
    places = array(near.positions), array(near.reach), near.radius
    return Place(*places, array(near.frames), array(near.neighbors))


class _Pooled(torch.autograd.Function):
    """Maximum and mean over the first axis, with both hands: (2, m, h) from (k, m, h).

    The first half of the channels is the maximum, the second the mean of what is positive.
    torch's own gradient of a maximum shares ties out evenly, at the price of four passes over the
    messages; here each tie gets it whole.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, even: Tensor, odd: Tensor) -> Tensor:
        chunk = _pool_chunk(even)
        parts = zip(even.split(chunk, 1), odd.split(chunk, 1), strict=True)
        pooled = torch.cat([torch.stack([_pool(e + o), _pool(e - o)]) for e, o in parts], 1)
        ctx.save_for_backward(even, odd, pooled)
        return pooled

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor]:
        even, odd, pooled = ctx.saved_tensors  # type: ignore[attr-defined]
        half = even.shape[2] // 2
        floor, share = pooled.clone(), grad.clone()
        floor[:, :, half:].fill_(torch.finfo(floor.dtype).tiny)  # what counts reaches it
        share[:, :, half:] /= len(even)
        back_even, back_odd = torch.empty_like(even), torch.empty_like(odd)
        whole = (even, odd, back_even, back_odd, floor, share)
        chunk = _pool_chunk(even)
        for e, o, be, bo, f, s in zip(*(t.split(chunk, 1) for t in whole), strict=True):
            right, left = (e + o >= f[0]) * s[0], (e - o >= f[1]) * s[1]
            torch.add(right, left, out=be)
            torch.sub(right, left, out=bo)
        return back_even, back_odd


def _pool_chunk(messages: Tensor) -> int:
    """Receivers whose messages are pooled at a time: on a GPU all of them."""
    return POOL_CHUNK if messages.device.type == "cpu" else max(1, messages.shape[1])


def _pool(message: Float[Tensor, "k m h"]) -> Float[Tensor, "m h"]:
    half = message.shape[2] // 2
    largest = message.amax(0)[:, :half]  # a slice is reduced ten times slower
    return torch.cat([largest, message.clamp_(min=0).mean(0)[:, half:]], 1)


class VectorLinear(nn.Module):
    """Mixes vectors with invariant weights, so it needs no frame: (3, v, n) to (3, w, n)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(inputs, outputs, bias=False).weight.detach())

    def forward(self, vectors: Float[Tensor, "3 v n"]) -> Float[Tensor, "3 w n"]:
        """The mixed vectors."""
        return self.weight @ vectors
