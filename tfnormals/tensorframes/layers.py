"""The edge layer: messages carry scalars and vectors from frame to frame.

Source: Lippmann et al., "Beyond Canonicalization", ICLR 2025, eq. 7 (tensorial messages). Vectors
are kept in global coordinates between layers, so that each is turned once per edge into the frame
of its receiver and never between two frames: rho(R_i R_j^T) = rho(R_i) rho(R_j)^T.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from .frames import turned

CHUNK = 4096
"""Receivers processed at a time without gradients: temporaries stay in the cache."""

EDGE_FEATURES = 6


class Features(NamedTuple):
    """Node features: invariant scalars, and vectors in global coordinates."""

    scalars: Float[Tensor, "n s"]
    vectors: Float[Tensor, "3 v n"]


class Neighborhoods(NamedTuple):
    """Receivers of an edge layer; receivers are the last axis where there are others."""

    frames: Float[Tensor, "3 3 m"]
    neighbors: Int[Tensor, "k m"]
    """Rows of the senders; the first is the receiver itself."""
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


class EdgeLayer(nn.Module):
    """One round of tensorial messages, a maximum and a mean over neighbours, a residual MLP.

    The log envelope is added to every message, which takes a neighbour out of the maximum, and
    through the ReLU out of the mean, continuously as it reaches the edge of the neighbourhood.

    Args:
        inputs: Number of scalars and of vectors coming in.
        outputs: Number of scalars and of vectors going out.
        hidden: Message channels; half are pooled by maximum, half by mean.
        moments: Number of invariants of a neighbourhood.
    """

    def __init__(
        self, inputs: tuple[int, int], outputs: tuple[int, int], hidden: int, moments: int
    ) -> None:
        super().__init__()
        (scalars, vectors), (scalars_out, vectors_out) = inputs, outputs
        self.outputs = outputs
        self.sender = nn.Linear(scalars, hidden, bias=False)
        self.edge = nn.Linear(EDGE_FEATURES - 1 + 3 * vectors, hidden, bias=False)
        self.receiver = nn.Linear(scalars + 3 * vectors + moments, hidden)
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

    def forward(self, features: Features, receivers: Neighborhoods) -> Features:
        """Features of the receivers, given those of the senders."""
        sent = self.sender(features.scalars)
        count = receivers.neighbors.shape[1]
        if torch.is_grad_enabled() or count <= CHUNK:
            return self._receive(sent, features, receivers)
        parts = [
            self._receive(sent, features, receivers.among(slice(start, start + CHUNK)))
            for start in range(0, count, CHUNK)
        ]
        return Features(
            torch.cat([part.scalars for part in parts]),
            torch.cat([part.vectors for part in parts], 2),
        )

    def _receive(
        self, sent: Float[Tensor, "n h"], features: Features, receivers: Neighborhoods
    ) -> Features:
        frames, neighbors, edges, moments = receivers
        (k, m), v = neighbors.shape, features.vectors.shape[1]
        frames = frames.contiguous()
        rows = neighbors.reshape(-1)
        arriving = features.vectors.flatten(0, 1).index_select(1, rows).view(3, v, k, m)
        local = turned(arriving, frames)
        known = torch.cat([edges.reshape(EDGE_FEATURES, -1), local.view(3 * v, k * m)])
        known, weight = known.to(sent), self._edge_weight().to(sent)  # bfloat16 under autocast
        message = sent.index_select(0, rows).addmm_(known.T, weight).view(k, m, -1)
        half = message.shape[2] // 2
        largest = _Largest.apply(message)[:, :half]  # a slice is reduced ten times slower
        pooled = torch.cat([largest, message.split(half, 2)[1].relu().mean(0)], 1)
        own = features.scalars[neighbors[0]]
        seen = torch.cat([own, local[:, :, 0].reshape(3 * v, m).T, moments], 1)
        update = self.mlp(self.norm(pooled + self.receiver(seen))).to(own.dtype)
        scalars, vectors = update.split([self.outputs[0], 3 * self.outputs[1]], 1)
        moved = turned(vectors.T.reshape(3, -1, m), frames, back=True)
        return Features(
            self.skip_scalars(own) + scalars, self.skip_vectors(arriving[:, :, 0]) + moved
        )

    def _edge_weight(self) -> Float[Tensor, "f h"]:
        """The weights of an edge's features; that of the log envelope is one."""
        weight = self.edge.weight.T
        known = EDGE_FEATURES - 1
        return torch.cat([weight[:known], weight.new_ones(1, weight.shape[1]), weight[known:]])


class _Largest(torch.autograd.Function):
    """Maximum over the first axis.

    torch's own gradient shares ties out evenly, at the price of four passes over the messages,
    a quarter of a training step; here each tie gets it whole.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        largest = values.amax(0)
        ctx.save_for_backward(values, largest)
        return largest

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        values, largest = ctx.saved_tensors  # type: ignore[attr-defined]
        return (values == largest).to(grad.dtype).mul_(grad)


class VectorLinear(nn.Module):
    """Mixes vectors with invariant weights, so it needs no frame: (3, v, n) to (3, w, n)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(inputs, outputs, bias=False).weight.detach())

    def forward(self, vectors: Float[Tensor, "3 v n"]) -> Float[Tensor, "3 w n"]:
        """The mixed vectors."""
        return self.weight @ vectors
