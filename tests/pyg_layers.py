"""Every message passing layer of PyG: how one is made, or why it cannot be converted.

Run as a script to write the table docs/pyg_layers.md.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from tfnormals.tensorframes.convert import make_equivariant
from tfnormals.tensorframes.reps import Reps

HEADER = """# Layers of PyG that `make_equivariant` takes as they are

{works} of the {names} names of message passing layers in `torch_geometric.nn.conv`, by PyG 2.8.1.
Yes means, tested with float64 to 1e-10 and with float32 to 1e-5: the output follows rotations and
reflections of the input; with the same frame at all nodes it is that of the unmodified layer; and
it is another one if vectors are declared to be scalars. Attention, several heads, edge features
that turn, positions, self-loops, degrees and several rounds of messages are included.

The routes are those of `tfnormals/tensorframes/convert.py`. A layer on the route `pairs` also
takes different senders and receivers. On the route `propagate` what looks at all nodes at once
sees their copies, too: a norm over the graph, or a batch norm of nodes in training.

Of the other modules there, `AntiSymmetricConv` works as it is, and `DirGNNConv` where edges go
both ways. `HeteroConv` and `GPSConv` work with layers that are converted before; attention in
`GPSConv` then passes scalars. `XConv` finds its edges itself, `WLConv` takes labels, and those
from cuGraph bring their own kernels.

Made by `python tests/pyg_layers.py`.

| layer | works | route | remark |
|---|---|---|---|
"""
TABLE = Path(__file__).parent.parent / "docs" / "pyg_layers.md"
IN, OUT = "3x0n+2x1n+1x0p", "2x0n+2x1n"
C, D = 10, 8
"""Their columns."""
REPS = {"edge_attr": "2x0n+1x1n", "normal": "1n", "x_0": IN}
"""Of the arguments that turn; five columns of ``edge_attr``."""
IN_FRAMES = ("x", "x_0", "normal")
"""The arguments that belong to nodes."""


class Recipe(NamedTuple):
    """How a layer is made, and what it is called with besides x and edges."""

    make: Callable[[], nn.Module]
    inputs: tuple[str, ...] = ()
    out: str = OUT

    def converted(self, layer: nn.Module, in_reps: str = IN) -> nn.Module:
        reps = {name: in_reps if REPS[name] == IN else REPS[name] for name in REPS}
        return make_equivariant(layer, in_reps, self.out, reps)

    def route(self) -> str:
        """From an edge to its copy; see ``tfnormals.tensorframes.convert``."""
        return self.converted(self.made()).route

    def made(self) -> nn.Module:
        """The layer, with the same weights every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make().eval()


class World(NamedTuple):
    """A graph, frames of its nodes, and arguments of layers in global coordinates."""

    edge_index: Tensor
    frames: Tensor
    inputs: dict[str, Tensor]

    def turned(self, matrix: Tensor) -> "World":
        """The same graph after x -> matrix @ x + shift."""
        inputs = dict(self.inputs, pos=self.inputs["pos"] @ matrix.mT + 5)
        for name, reps in {**REPS, "x": IN}.items():
            inputs[name] = Reps(reps).transform(inputs[name], matrix)
        return World(self.edge_index, self.frames @ matrix.mT, inputs)

    def without_frames(self) -> "World":
        """The same graph with the same frame everywhere."""
        return self._replace(frames=torch.eye(3, dtype=self.frames.dtype).expand_as(self.frames))

    def arguments(self, recipe: Recipe) -> dict[str, Tensor]:
        """What the layer is called with: that of nodes in their frames."""
        given = {name: self.inputs[name] for name in ("x", *recipe.inputs) if name in self.inputs}
        for name in set(IN_FRAMES).intersection(given):
            reps = IN if name == "x" else REPS[name]
            given[name] = Reps(reps).transform(given[name], self.frames)
        if "signed" in recipe.inputs:
            ends = {"pos_edge_index": self.edge_index[:, ::2]}
            return given | ends | {"neg_edge_index": self.edge_index[:, 1::2]}
        if "layers" in recipe.inputs:
            given["x"] = torch.stack([given["x"], 2 * given["x"]], 1)
        return given | {"edge_index": self.edge_index}

    def output(self, converted: nn.Module, recipe: Recipe) -> Tensor:
        """Of a converted layer, in global coordinates."""
        given = {"edge_index": None, **self.arguments(recipe)}
        out = converted(**given, frames=self.frames)
        return Reps(recipe.out).transform(out, self.frames.mT)


def world(dtype: torch.dtype, nodes: int = 12, degree: int = 4) -> World:
    """A random world with random frames; the last node is on its own.

    The graph has a loop and an edge that occurs twice.
    """
    rng = np.random.default_rng(0)
    edges = nodes * degree

    def some(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).to(dtype)

    near = [rng.choice(nodes - 1, degree, replace=False) for _ in range(nodes - 1)]
    near.append(near[-1])
    receivers = np.arange(nodes).repeat(degree)
    receivers[-degree:] = nodes - 2
    edge_index = torch.from_numpy(np.stack([np.concatenate(near), receivers]))
    edge_index[0, 0] = edge_index[1, 0]
    inputs = {
        "x": some(nodes, C),
        "x_0": some(nodes, C),
        "pos": some(nodes, 3),
        "normal": nn.functional.normalize(some(nodes, 3)),
        "node_type": torch.arange(nodes) % 2,
        "edge_attr": some(edges, 5),
        "edge_weight": some(edges).abs(),
        "edge_type": torch.arange(edges) % 2,
    }
    frames = np.linalg.qr(rng.normal(size=(nodes, 3, 3)))[0]
    return World(edge_index, torch.from_numpy(frames).to(dtype), inputs)


def mlp(inputs: int, outputs: int = D) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 12), nn.Tanh(), nn.Linear(12, outputs))


RECIPES = {
    "AGNNConv": Recipe(lambda: pyg.AGNNConv(), out=IN),
    "APPNP": Recipe(lambda: pyg.APPNP(3, 0.2), ("edge_weight",), out=IN),
    "ARMAConv": Recipe(lambda: pyg.ARMAConv(C, D, 2, 2), ("edge_weight",)),
    "CGConv": Recipe(lambda: pyg.CGConv(C, 5, batch_norm=True), ("edge_attr",), out=IN),
    "ChebConv": Recipe(lambda: pyg.ChebConv(C, D, 3), ("edge_weight",)),
    "ClusterGCNConv": Recipe(lambda: pyg.ClusterGCNConv(C, D, 0.1)),
    "DNAConv": Recipe(lambda: pyg.DNAConv(C, 2), ("layers",), out=IN),
    "EGConv": Recipe(lambda: pyg.EGConv(C, D, ["symnorm", "max", "std"], 4, 3)),
    "EdgeConv": Recipe(lambda: pyg.EdgeConv(mlp(2 * C))),
    "FAConv": Recipe(lambda: pyg.FAConv(C), ("x_0",), out=IN),
    "FastRGCNConv": Recipe(lambda: pyg.FastRGCNConv(C, D, 2), ("edge_type",)),
    "FeaStConv": Recipe(lambda: pyg.FeaStConv(C, D, 3)),
    "FiLMConv": Recipe(lambda: pyg.FiLMConv(C, D, 2), ("edge_type",)),
    "GATConv": Recipe(lambda: pyg.GATConv(C, 4, 2, edge_dim=5, residual=True), ("edge_attr",)),
    "GATv2Conv": Recipe(lambda: pyg.GATv2Conv(C, 4, 2, edge_dim=5), ("edge_attr",)),
    "GCN2Conv": Recipe(lambda: pyg.GCN2Conv(C, 0.3, 0.5, 1), ("x_0", "edge_weight"), out=IN),
    "GCNConv": Recipe(lambda: pyg.GCNConv(C, D), ("edge_weight",)),
    "GENConv": Recipe(lambda: pyg.GENConv(C, D, edge_dim=5), ("edge_attr",)),
    "GINConv": Recipe(lambda: pyg.GINConv(mlp(C))),
    "GINEConv": Recipe(lambda: pyg.GINEConv(mlp(C), edge_dim=5), ("edge_attr",)),
    "GMMConv": Recipe(lambda: pyg.GMMConv(C, D, 5, 3), ("edge_attr",)),
    "GatedGraphConv": Recipe(lambda: pyg.GatedGraphConv(C, 3), ("edge_weight",), out=IN),
    "GeneralConv": Recipe(
        lambda: pyg.GeneralConv(C, D, 5, heads=2, attention=True, directed_msg=False),
        ("edge_attr",),
    ),
    "GraphConv": Recipe(lambda: pyg.GraphConv(C, D), ("edge_weight",)),
    "HEATConv": Recipe(
        lambda: pyg.HEATConv(C, 4, 2, 2, 3, 5, 3, 2), ("node_type", "edge_type", "edge_attr")
    ),
    "LEConv": Recipe(lambda: pyg.LEConv(C, D), ("edge_weight",)),
    "LGConv": Recipe(lambda: pyg.LGConv(), ("edge_weight",), out=IN),
    "MFConv": Recipe(lambda: pyg.MFConv(C, D)),
    "MeshCNNConv": Recipe(lambda: pyg.MeshCNNConv(C, D)),
    "MixHopConv": Recipe(lambda: pyg.MixHopConv(C, 4, [0, 2]), ("edge_weight",)),
    "NNConv": Recipe(lambda: pyg.NNConv(C, D, mlp(5, C * D)), ("edge_attr",)),
    "PDNConv": Recipe(lambda: pyg.PDNConv(C, D, 5, 6), ("edge_attr",)),
    "PNAConv": Recipe(
        lambda: pyg.PNAConv(
            C, D, ["mean", "max", "std"], ["amplification", "linear"], torch.ones(6), 5, 2
        ),
        ("edge_attr",),
    ),
    "PPFConv": Recipe(lambda: pyg.PPFConv(mlp(C + 4)), ("pos", "normal")),
    "PointGNNConv": Recipe(
        lambda: pyg.PointGNNConv(mlp(C, 3), mlp(C + 3), mlp(D, C)), ("pos",), out=IN
    ),
    "PointNetConv": Recipe(lambda: pyg.PointNetConv(mlp(C + 3), mlp(D)), ("pos",)),
    "PointTransformerConv": Recipe(
        lambda: pyg.PointTransformerConv(C, D, mlp(3), mlp(D)), ("pos",)
    ),
    "RGATConv": Recipe(
        lambda: pyg.RGATConv(C, 4, 2, heads=2, edge_dim=5), ("edge_type", "edge_attr")
    ),
    "RGCNConv": Recipe(lambda: pyg.RGCNConv(C, D, 2), ("edge_type",)),
    "ResGatedGraphConv": Recipe(lambda: pyg.ResGatedGraphConv(C, D, edge_dim=5), ("edge_attr",)),
    "SAGEConv": Recipe(lambda: pyg.SAGEConv(C, D, "max", project=True)),
    "SGConv": Recipe(lambda: pyg.SGConv(C, D, 2), ("edge_weight",)),
    "SSGConv": Recipe(lambda: pyg.SSGConv(C, D, 0.3, 2), ("edge_weight",)),
    "SignedConv": Recipe(lambda: pyg.SignedConv(C, 4, first_aggr=True), ("signed",)),
    "SimpleConv": Recipe(lambda: pyg.SimpleConv("mean", "sum"), ("edge_weight",), out=IN),
    "SuperGATConv": Recipe(lambda: pyg.SuperGATConv(C, 4, 2)),
    "TAGConv": Recipe(lambda: pyg.TAGConv(C, D), ("edge_weight",)),
    "TransformerConv": Recipe(lambda: pyg.TransformerConv(C, 4, 2, edge_dim=5), ("edge_attr",)),
    "WLConvContinuous": Recipe(lambda: pyg.WLConvContinuous(), ("edge_weight",), out=IN),
}

NOT_CONVERTED = {
    "DynamicEdgeConv": "finds its edges itself: find them before, and use `EdgeConv`",
    "FusedGATConv": "calls a kernel instead of sending messages: use `GATConv`",
    "GravNetConv": "finds its edges itself",
    "HANConv": "averages over all rows of a type of nodes, and copies are further rows",
    "HypergraphConv": "sends to hyperedges, which have no frames",
    "PANConv": "sends along paths instead of edges",
    "SplineConv": "not tested: needs `pyg-lib`, which PyPI does not have",
}
REMARKS = {
    "HGTConv": "called with `x_dict`, `edge_index_dict` and `frames_dict`",
    "SuperGATConv": "its loss in training compares copies, too",
}


def layer_names() -> list[str]:
    """All names of message passing layers that PyG has."""
    base = pyg.MessagePassing
    found = inspect.getmembers(pyg.conv, inspect.isclass)
    return [name for name, cls in found if issubclass(cls, base) and cls is not base]


def table() -> str:
    """The table of all layers."""
    names = layer_names()
    rows = [_row(name, getattr(pyg.conv, name).__name__) for name in names]
    works = sum("| yes |" in row for row in rows)
    return HEADER.format(works=works, names=len(names)) + "".join(rows)


def _row(name: str, original: str) -> str:
    if original in NOT_CONVERTED:
        return f"| {name} | no | | {NOT_CONVERTED[original]} |\n"
    route = "types" if original == "HGTConv" else RECIPES[original].route()
    remark = REMARKS.get(name, "") if name == original else f"`{original}` by another name"
    return f"| {name} | yes | {route} | {remark} |\n"


if __name__ == "__main__":
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(), encoding="utf-8")
