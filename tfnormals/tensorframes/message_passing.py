"""Messages that arrive in the receiver's frame: the base class of new layers.

A node keeps its features in its own frame. What node j sends reaches node i as
rho(R_i R_j^T) f_j, computed as rho(R_i) of rho(R_j^T) f_j: one turn for each node, one for each
edge. Source: Lippmann et al., "Beyond Canonicalization", ICLR 2025, eq. 7.
"""

import inspect
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import Aggregation

from .reps import Reps

Frames = Tensor | tuple[Tensor, Tensor]
"""Of all nodes, (n, d, d), or of those that send and of those that receive. Rows are axes; only
scalars pass to and from a node whose matrix is zero (``LocalFrames.where_defined``)."""
Ends = tuple[Tensor | None, Tensor | None]
"""What senders have, and what receivers have."""


class Edges(NamedTuple):
    """Senders and receivers of messages, and the frames of both."""

    senders: Int[Tensor, " e"]
    receivers: Int[Tensor, " e"]
    frames: tuple[Float[Tensor, "n d d"], Float[Tensor, "m d d"]]
    """Of all nodes that may send, and of all that receive."""

    @classmethod
    def of(cls, edge_index: Int[Tensor, "2 e"], frames: Frames) -> "Edges":
        """The edges from ``edge_index[0]`` to ``edge_index[1]``."""
        both = frames if isinstance(frames, tuple) else (frames, frames)
        return cls(edge_index[0], edge_index[1], both)

    def arriving(self, features: Float[Tensor, "n *h c"], reps: Reps) -> Float[Tensor, "e *h c"]:
        """Features of the senders, turned from their frames into those of the receivers."""
        away = _turned(features, self.frames[0].mT, reps)
        return self.seen(away[self.senders], reps)

    def seen(self, features: Float[Tensor, "e *h c"], reps: Reps) -> Float[Tensor, "e *h c"]:
        """Global features of the edges in the frames of the receivers."""
        return _turned(features, self.frames[1][self.receivers], reps)

    def ends(self, name: str, value: Tensor | Ends, reps: Reps | None) -> Ends:
        """An argument of a layer that belongs to nodes, as the receivers see it.

        Args:
            name: Of the argument. ``pos`` are global positions, and become offsets from the
                receiver in its frame.
            value: Of all nodes, or of those that send and of those that receive.
            reps: How it turns; None if it does not.

        Returns:
            What is sent, a row for each edge, and what the receivers have.
        """
        sent, received = value if isinstance(value, tuple) else (value, value)
        if sent is None:
            return None, received
        if name == "pos" and received is not None:
            offsets = sent[self.senders] - received[self.receivers]
            return self.seen(offsets, Reps("1n", sent.shape[1])), torch.zeros_like(received)
        return sent[self.senders] if reps is None else self.arriving(sent, reps), received


class TFMessagePassing(MessagePassing):
    """Base class of layers whose messages are computed in the frame of their receiver.

    Written like any layer of PyG, with nodes along the first axis of every tensor. Frames are an
    argument of ``propagate``: a module holds nothing between calls. What ends in ``_j`` arrives in
    the receiver's frame if its representation is declared. So does what belongs to an edge, which
    has no frame of its own and is given in global coordinates. ``pos`` needs no declaration:
    ``pos_j - pos_i`` is the offset from the receiver in its frame. All else is invariant.

    Example:
        class Layer(TFMessagePassing):
            def __init__(self, reps, out):
                super().__init__({"x": reps}, aggr="max")
                self.lin = nn.Linear(reps.dim + 3, out)

            def forward(self, x, pos, edge_index, frames):
                return self.propagate(edge_index, frames, x=x, pos=pos)

            def message(self, x_j, pos_i, pos_j):
                return self.lin(torch.cat([x_j, pos_j - pos_i], 1))

    Args:
        reps: Representations of arguments of ``propagate`` and ``edge_updater``, by name.
        aggr: How messages are aggregated, as in PyG; None if ``aggregate`` is overridden.
    """

    def __init__(
        self, reps: Mapping[str, Reps], aggr: str | list[str] | Aggregation | None = "sum"
    ) -> None:
        super().__init__(aggr, node_dim=0)
        self.reps = dict(reps)
        hooks = (self.message, self.edge_update, self.aggregate, self.update)
        names = {name for hook in hooks for name in inspect.signature(hook).parameters}
        self.of_nodes = {name[:-2] for name in names if name.endswith(("_i", "_j"))}

    def propagate(
        self, edge_index: Int[Tensor, "2 e"], frames: Frames, **inputs: Tensor | Ends | None
    ) -> Tensor:
        """Computes messages, aggregates them and updates the receivers.

        Args:
            edge_index: From senders to receivers.
            frames: Of the nodes.
            inputs: What ``message``, ``aggregate`` and ``update`` ask for.
        """
        edges = Edges.of(edge_index, frames)
        return super().propagate(_spread(edges), _size(edges), **self._seen(inputs, edges))

    def edge_updater(
        self, edge_index: Int[Tensor, "2 e"], frames: Frames, **inputs: Tensor | Ends | None
    ) -> Tensor:
        """The result of ``edge_update``, a row for each edge; arguments as for ``propagate``."""
        edges = Edges.of(edge_index, frames)
        return super().edge_updater(_spread(edges), _size(edges), **self._seen(inputs, edges))

    def _seen(
        self, inputs: Mapping[str, Tensor | Ends | None], edges: Edges
    ) -> dict[str, Tensor | Ends | None]:
        found = dict(inputs)
        for name, value in inputs.items():
            reps = self.reps.get(name)
            if name in self.of_nodes and value is not None:
                found[name] = edges.ends(name, value, reps)
            elif reps is not None and isinstance(value, Tensor):
                found[name] = edges.seen(value, reps)
        return found

    def _set_jittable_templates(self, raise_on_error: bool = False) -> None:
        """PyG would put generated code in the place of ``propagate``."""


def checked(features: Float[Tensor, "*n c"], reps: Reps) -> Float[Tensor, "*n c"]:
    """The result of a layer.

    Raises:
        ValueError: If it has another number of columns than ``reps``.
    """
    if features.shape[-1] != reps.dim:
        raise ValueError(f"result {tuple(features.shape)}: {reps} needs {reps.dim} columns")
    return features


def _spread(edges: Edges) -> Int[Tensor, "2 e"]:
    """The edges, each from a sender of its own."""
    numbers = torch.arange(len(edges.senders), device=edges.senders.device)
    return torch.stack([numbers, edges.receivers])


def _size(edges: Edges) -> tuple[int, int]:
    return len(edges.senders), len(edges.frames[1])


def _turned(features: Tensor, matrices: Tensor, reps: Reps) -> Tensor:
    """Features (n, ..., c) turned by matrices (n, d, d), in full precision under autocast too."""
    each = matrices.reshape(len(matrices), *(1,) * (features.ndim - 2), *matrices.shape[1:])
    with torch.autocast(features.device.type, enabled=False):
        return reps.transform(features, each).to(features.dtype)
