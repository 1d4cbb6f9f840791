"""Layers between several types of nodes, unmodified, as equivariant ones."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .message_passing import Edges, checked
from .reps import Reps

Relation = tuple[str, str, str]
"""Type of the senders, name, type of the receivers."""


class EquivariantHeteroLayer(nn.Module):
    """A layer that takes ``x_dict`` and ``edge_index_dict``; see ``make_equivariant``.

    The copies of the senders, one for each edge, are further rows of their type.

    Args:
        layer: Such a layer.
        in_reps: Of the features of all types.
        out_reps: Of the results.
    """

    def __init__(self, layer: nn.Module, in_reps: Reps, out_reps: Reps) -> None:
        super().__init__()
        self.layer = layer
        self.in_reps = in_reps
        self.out_reps = out_reps

    def forward(
        self,
        x_dict: dict[str, Float[Tensor, "_n c"]],
        edge_index_dict: dict[Relation, Int[Tensor, "2 _e"]],
        frames_dict: dict[str, Float[Tensor, "_n d d"]],
    ) -> dict[str, Float[Tensor, "_n k"]]:
        """Features of the types that receive, in the frames of the nodes, as those given are."""
        rows = {kind: [x] for kind, x in x_dict.items()}
        from_copies = {}
        for relation, edge_index in edge_index_dict.items():
            sender, _, receiver = relation
            edges = Edges.of(edge_index, (frames_dict[sender], frames_dict[receiver]))
            start = sum(map(len, rows[sender]))
            rows[sender].append(edges.arriving(x_dict[sender], self.in_reps))
            copies = torch.arange(edge_index.shape[1], device=edge_index.device) + start
            from_copies[relation] = torch.stack([copies, edges.receivers])
        out = self.layer({kind: torch.cat(parts) for kind, parts in rows.items()}, from_copies)
        return {kind: checked(x[: len(x_dict[kind])], self.out_reps) for kind, x in out.items()}
