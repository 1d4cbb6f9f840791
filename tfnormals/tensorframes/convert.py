"""Any layer of PyG, unmodified, as an equivariant one.

In place of a sender a layer sees copies of it, one for each receiver, turned into the frame of
that receiver. Every message then leaves a node that is written in the receiver's frame: whatever
the layer makes of sender and receiver, it makes it of invariant numbers. With the same frame at
all nodes the copies equal their senders, and the layer does what it always does.

Copies are further rows of the node arguments, behind one row for each receiver. Three routes lead
from an edge to its copy:

- ``pairs``: a layer that tells senders from receivers is given both, and edges from the copies.
- ``propagate``: other layers of PyG are given the true edges, since they may count degrees or add
  loops, and edges are redirected to the copies where a layer sends along them. What a round of
  messages yields is copied in turn, so that a layer may have several rounds. What looks at all
  nodes at once, like a norm over the graph, sees the copies, too.
- ``rows``: anything else that takes ``x`` and ``edge_index`` is given edges from the copies.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Literal, cast, get_args, get_origin

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from .hetero import EquivariantHeteroLayer
from .message_passing import Edges, Ends, Frames, checked
from .reps import Reps

Layer = Callable[..., Tensor]
Argument = Tensor | Ends | float | None
Route = Literal["pairs", "propagate", "rows"]


def make_equivariant(
    layer: Layer,
    in_reps: Reps | str,
    out_reps: Reps | str,
    reps: Mapping[str, Reps | str] | None = None,
    hidden_reps: Reps | str | None = None,
) -> "EquivariantLayer | EquivariantHeteroLayer":
    """An equivariant layer from any layer of PyG, or a callable that is called like one.

    Representations given as text are those of three dimensions.

    Args:
        layer: Takes ``x``, ``edge_index`` and what else it needs by name, or ``x_dict`` and
            ``edge_index_dict``. It is left as it is and shares its weights.
        in_reps: Of ``x``. Nothing but scalars means scalar messages.
        out_reps: Of the result.
        reps: Of other arguments, by name; without one they are invariant.
        hidden_reps: Of what a layer with several rounds of messages passes on from round to round.
            By default that of ``in_reps`` and ``out_reps`` which has as many columns.
    """
    if isinstance(layer, nn.Module) and "x_dict" in _parameters(layer):
        return EquivariantHeteroLayer(layer, _reps(in_reps), _reps(out_reps))
    declared = {"x": in_reps, **(reps or {})}
    passed_on = [in_reps, out_reps] if hidden_reps is None else [hidden_reps]
    return EquivariantLayer(
        layer,
        {name: _reps(value) for name, value in declared.items()},
        _reps(out_reps),
        [_reps(value) for value in passed_on],
    )


class EquivariantLayer(nn.Module):
    """See ``make_equivariant``.

    Args:
        layer: Any layer.
        reps: Of its arguments, by name.
        out_reps: Of its result.
        passed_on: Of what it passes on between rounds: the first with as many columns.
    """

    def __init__(
        self, layer: Layer, reps: Mapping[str, Reps], out_reps: Reps, passed_on: Iterable[Reps]
    ) -> None:
        super().__init__()
        self.layer = layer
        self.reps = dict(reps)
        self.out_reps = out_reps
        self.passed_on = list(passed_on)
        self.route = _route(layer)

    def forward(
        self,
        x: Tensor | Ends | None,
        edge_index: Tensor | None,
        frames: Frames,
        **inputs: Argument,
    ) -> Tensor:
        """Features of the receivers, in their frames.

        What belongs to a node is given in its frame, except ``pos``; positions and what belongs to
        edges are global. Names follow PyG: those of indices of nodes hold ``index``, those of
        other arguments of edges hold ``edge``, all other tensors belong to nodes.

        Args:
            x: Features of the nodes, or of those that send and of those that receive.
            edge_index: From senders to receivers; None if there are only other indices.
            frames: Of the nodes, or of those that send and of those that receive.
            inputs: Other arguments of the layer, like ``edge_attr`` and ``pos``.

        Raises:
            ValueError: If arguments do not fit the layer or its representations, or the layer
                sends along edges that it was not given.
        """
        given = {"x": x, "edge_index": edge_index, **inputs}
        if edge_index is None:
            del given["edge_index"]
        copies = _Copies(given, frames, _flow(self.layer))
        route = "pairs" if isinstance(frames, tuple) else self.route
        if copies.heads < copies.receivers and getattr(self.layer, "add_self_loops", False):
            raise ValueError("fewer senders than receivers: make the layer without add_self_loops")
        seen = {name: self._seen(name, value, copies, route) for name, value in given.items()}
        layer = self.layer
        if route == "propagate" and isinstance(layer, nn.Module):
            layer = _Rounds(copies, self.passed_on).redirected(layer)
        return checked(layer(**seen)[: copies.receivers], self.out_reps)

    def _seen(self, name: str, value: Argument, copies: "_Copies", route: Route) -> Argument:
        """An argument as the layer gets it."""
        if not isinstance(value, Tensor | tuple):
            return value
        if "index" in name:
            return value if route == "propagate" else copies.redirected(cast("Tensor", value))
        reps = self.reps.get(name)
        if "edge" in name:
            return value if reps is None else copies.edges.seen(cast("Tensor", value), reps)
        rows, received = copies.every.ends(name, value, reps)
        return (rows, received) if route == "pairs" else rows


class _Copies:
    """The copies of the senders: where they come from, and which edge leads to which.

    Rows of the layer's node arguments are first the receivers themselves, then a copy for each
    edge. Where senders are not receivers, node i of both counts as the same, as PyG's loops do.
    """

    def __init__(self, given: Mapping[str, Argument], frames: Frames, flow: str) -> None:
        indices = [v for name, v in given.items() if "index" in name and isinstance(v, Tensor)]
        ends = [_ends(index, flow) for index in indices]
        self.edges = Edges.of(ends[0], frames)
        self.receivers = len(self.edges.frames[1])
        self.heads = min(map(len, self.edges.frames))
        loops = torch.arange(self.heads, device=indices[0].device)
        every = torch.cat([torch.stack([loops, loops]), *ends], 1)
        self.every = Edges.of(every, frames)
        self.flow = flow
        self.keys, self.rows = self._key(every).sort(stable=True)

    def redirected(self, edge_index: Int[Tensor, "2 e"]) -> Int[Tensor, "2 e"]:
        """The same edges, from the copies."""
        ends = _ends(edge_index, self.flow)
        key = self._key(ends)
        place = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        among_copies = ends[1] >= self.receivers  # loops that the layer added to all rows
        if not (among_copies | (self.keys[place] == key)).all():
            raise ValueError(
                "the layer sends along edges that it was not given; give it those, too"
            )
        return _ends(
            torch.stack([torch.where(among_copies, ends[0], self.rows[place]), ends[1]]), self.flow
        )

    def _key(self, ends: Int[Tensor, "2 e"]) -> Int[Tensor, " e"]:
        """A number for each pair of nodes."""
        return ends[0] * self.receivers + ends[1]


class _Rounds:
    """The rounds of messages within one call of a layer."""

    def __init__(self, copies: _Copies, passed_on: Iterable[Reps]) -> None:
        self.copies = copies
        self.passed_on = passed_on
        self.uncopied: int | None = None
        """Columns of a round's result that has none of the representations."""

    def redirected(self, module: nn.Module) -> nn.Module:
        """A shallow copy of a module, with the same weights, that sends from the copies."""
        twin = object.__new__(type(module))
        twin.__dict__.update(module.__dict__)
        children = module._modules.items()
        twin.__dict__["_modules"] = {k: child and self.redirected(child) for k, child in children}
        if isinstance(twin, MessagePassing):
            twin.propagate = partial(self._propagate, twin.propagate, twin.node_dim)
            twin.edge_updater = partial(self._send, twin.edge_updater)
        return twin

    def _propagate(
        self, propagate: Layer, axis: int, edge_index: Int[Tensor, "2 e"], **inputs: Argument
    ) -> Tensor:
        out = self._send(propagate, edge_index, **inputs)
        axis %= out.ndim
        moved = out.movedim(axis, 0)
        flat = moved.flatten(axis + 1)
        columns = flat.shape[-1]
        reps = next((reps for reps in self.passed_on if reps.dim == columns), None)
        if reps is None:
            self.uncopied = columns
            return out
        copied = self.copies.every.arriving(flat[: self.copies.receivers], reps)
        return copied.reshape(moved.shape).movedim(0, axis)

    def _send(self, send: Layer, edge_index: Int[Tensor, "2 e"], **inputs: Argument) -> Tensor:
        if self.uncopied is not None:
            raise ValueError(
                f"the layer passes {self.uncopied} columns on to another round of messages; "
                "hidden_reps must tell how they turn"
            )
        return send(self.copies.redirected(edge_index), **inputs)


def _ends(edge_index: Int[Tensor, "2 e"], flow: str) -> Int[Tensor, "2 e"]:
    """Senders and receivers; also the way back."""
    return edge_index if flow == "source_to_target" else edge_index.flip(0)


def _flow(layer: Layer) -> str:
    return next((module.flow for module in _message_passing(layer)), "source_to_target")


def _route(layer: Layer) -> Route:
    parameters = _parameters(layer)
    kinds = get_args(parameters["x"].annotation) if "x" in parameters else ()
    if _flow(layer) == "source_to_target" and any(get_origin(kind) is tuple for kind in kinds):
        return "pairs"
    return "propagate" if list(_message_passing(layer)) else "rows"


def _parameters(layer: Layer) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(getattr(layer, "forward", layer)).parameters


def _message_passing(layer: Layer) -> Iterator[MessagePassing]:
    modules = layer.modules() if isinstance(layer, nn.Module) else ()
    return (module for module in modules if isinstance(module, MessagePassing))


def _reps(reps: Reps | str) -> Reps:
    return Reps(reps) if isinstance(reps, str) else reps
