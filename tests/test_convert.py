import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch_geometric.nn as pyg
from helpers import TURNS, motion
from pyg_layers import IN, NOT_CONVERTED, OUT, RECIPES, TABLE, C, D, layer_names, table, world
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from tfnormals.tensorframes.convert import make_equivariant
from tfnormals.tensorframes.reps import Reps

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Relative to the largest output."""
RECEIVERS = 9
EDGE_ARGUMENTS = ("edge_attr", "edge_weight", "edge_type")

each_turn = pytest.mark.parametrize("kind", TURNS)
each_layer = pytest.mark.parametrize("name", RECIPES)
each_type = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)


@pytest.fixture
def default_dtype(dtype):
    """MeshCNNConv makes its messages in the default type, whatever that of its input."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


def matrix(kind, dtype=torch.float64):
    return torch.from_numpy(motion(kind, 1, np.random.default_rng(1)).matrix).to(dtype)


def layer_and_world(name, dtype=torch.float64):
    return RECIPES[name].made().to(dtype), world(dtype)


def assert_same(found, wanted, dtype=torch.float64):
    limit = TOLERANCES[dtype] * float(wanted.detach().abs().max())
    assert found.dtype is dtype
    torch.testing.assert_close(found, wanted, rtol=0, atol=limit)


def assert_follows(layer, recipe, kind, dtype=torch.float64):
    here, turn = world(dtype), matrix(kind, dtype)
    rest, moved = here.output(layer, recipe), here.turned(turn).output(layer, recipe)
    assert_same(moved, Reps(recipe.out).transform(rest, turn), dtype)


@each_type
@each_turn
@each_layer
@pytest.mark.usefixtures("default_dtype")
def test_output_turns_with_the_world(name, kind, dtype):
    recipe = RECIPES[name]
    layer = recipe.converted(recipe.made().to(dtype))
    with torch.no_grad():
        assert_follows(layer, recipe, kind, dtype)


@each_layer
def test_with_one_frame_for_all_it_is_the_unmodified_layer(name):
    """In training, so that batch norms see the same batch, too."""
    recipe = RECIPES[name]
    layer, same = layer_and_world(name)[0].train(), world(torch.float64).without_frames()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        plain = copy.deepcopy(layer)(**same.arguments(recipe))
        assert_same(same.output(recipe.converted(layer), recipe), plain)


@each_layer
def test_vectors_are_not_sent_as_scalars(name):
    recipe = RECIPES[name]
    layer, here = layer_and_world(name)
    with torch.no_grad():
        tensors, scalars = (
            here.output(recipe.converted(layer, reps), recipe) for reps in (IN, f"{C}x0n")
        )
    assert (tensors - scalars).abs().max() > 1e-2 * tensors.abs().max()


def test_an_edge_feature_that_is_not_declared_is_found_out():
    recipe = RECIPES["GATConv"]
    layer = make_equivariant(recipe.made().double(), IN, OUT)
    with pytest.raises(AssertionError):
        assert_follows(layer, recipe, "rotation")


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name].route() == "pairs"])
def test_senders_may_be_others_than_the_receivers(name):
    recipe = RECIPES[name]
    layer, here = layer_and_world(name)
    turn = matrix("reflection")
    with torch.no_grad():
        rest = received(recipe.converted(layer), recipe, here)
        assert_same(
            received(recipe.converted(layer), recipe, here.turned(turn)),
            Reps(recipe.out).transform(rest, turn),
        )
        plain = layer(**between_two(here.without_frames().arguments(recipe)))
        assert_same(received(recipe.converted(layer), recipe, here.without_frames()), plain)


def received(converted, recipe, here):
    """Outputs, in global coordinates, where only the first nodes receive."""
    given = {"edge_index": None, **between_two(here.arguments(recipe))}
    frames = (here.frames, here.frames[:RECEIVERS])
    return Reps(recipe.out).transform(converted(**given, frames=frames), frames[1].mT)


def between_two(given):
    """Arguments of a layer with other senders than receivers: the first nodes are both."""
    kept = (given.get("edge_index", given.get("pos_edge_index"))[1] < RECEIVERS).nonzero()[:, 0]
    ends = {name: v[:, v[1] < RECEIVERS] for name, v in given.items() if "index" in name}
    edges = {name: v[kept] for name, v in given.items() if name in EDGE_ARGUMENTS}
    nodes = {name: (v, v[:RECEIVERS]) for name, v in given.items() if "edge" not in name}
    return {**edges, **nodes, **ends}


def turned_into(features, sender, receiver, frames):
    return Reps(IN).transform(features[sender], frames[receiver] @ frames[sender].T)


@pytest.mark.parametrize("name", ["EdgeConv", "GATv2Conv", "PNAConv"])
def test_messages_are_those_of_the_formula(name):
    """One receiver at a time, its senders multiplied by R_i R_j^T."""
    recipe = RECIPES[name]._replace(inputs=())
    layer = {
        "EdgeConv": recipe.make,
        "GATv2Conv": lambda: pyg.GATv2Conv(C, 4, 2),
        "PNAConv": lambda: pyg.PNAConv(C, D, ["mean"], ["identity"], torch.ones(6)),
    }[name]().double()
    here = world(torch.float64)
    given = here.arguments(recipe)
    found = recipe.converted(layer)(**given, frames=here.frames)

    for receiver in range(len(here.frames)):
        senders = given["edge_index"][0, given["edge_index"][1] == receiver].tolist()
        star = [given["x"][receiver]]
        star += [
            turned_into(given["x"], j, receiver, here.frames) for j in senders if j != receiver
        ]
        loops = len(senders) + 1 - len(star)
        ends = [*range(1, len(star)), *[0] * loops], [0] * len(senders)
        alone = layer(torch.stack(star), torch.tensor(ends, dtype=torch.long))
        assert_same(found[receiver], alone[0])


def test_several_rounds_of_messages_are_those_of_the_formula():
    layer, here = layer_and_world("TAGConv")
    given = here.arguments(RECIPES["TAGConv"])
    found = RECIPES["TAGConv"].converted(layer)(**given, frames=here.frames)

    ends, weights = gcn_norm(
        given["edge_index"], given["edge_weight"], len(here.frames), add_self_loops=False
    )
    x, wanted = given["x"], layer.lins[0](given["x"])
    for lin in layer.lins[1:]:
        sent = [
            weight * turned_into(x, j, i, here.frames)
            for (j, i), weight in zip(ends.T.tolist(), weights, strict=True)
        ]
        x = torch.zeros_like(x).index_add(0, ends[1], torch.stack(sent))
        wanted = wanted + lin(x)
    assert_same(found, wanted + layer.bias)


@pytest.mark.parametrize("name", ["GCNConv", "EdgeConv", "GATConv"])
def test_messages_may_flow_against_the_edges(name):
    recipe = RECIPES[name]._replace(inputs=())
    forward = {"GCNConv": pyg.GCNConv(C, D), "GATConv": pyg.GATConv(C, 4, 2)}.get(
        name, RECIPES[name].make()
    )
    backward = copy.deepcopy(forward)
    backward.flow = "target_to_source"
    here = world(torch.float64)
    flipped = here._replace(edge_index=here.edge_index.flip(0))
    forward, backward = (recipe.converted(layer.double()) for layer in (forward, backward))
    assert_same(flipped.output(backward, recipe), here.output(forward, recipe))


@each_turn
@pytest.mark.parametrize(
    "model",
    [
        lambda: pyg.GAT(C, 12, 3, D, v2=True, heads=2),
        lambda: pyg.GCN(C, 12, 3, D, jk="cat"),
        lambda: pyg.AntiSymmetricConv(C, num_iters=2),
        lambda: pyg.Sequential("x, edge_index", [(pyg.SAGEConv(C, 12), "x, edge_index -> x")]),
    ],
    ids=["GAT", "GCN", "AntiSymmetricConv", "Sequential"],
)
def test_whole_models_are_converted_at_once(model, kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model().double().eval()
    out = {"AntiSymmetricConv": IN, "GAT": OUT, "GCN": OUT}.get(type(model).__name__, "12x0n")
    recipe = RECIPES["GCNConv"]._replace(inputs=(), out=out)
    layer = make_equivariant(model, IN, out, hidden_reps=IN if out == IN else "3x0n+3x1n")
    assert_follows(layer, recipe, kind)
    same = world(torch.float64).without_frames()
    assert_same(same.output(layer, recipe), model(**same.arguments(recipe)))


HETERO = ("x_dict", "edge_index_dict", "frames_dict")
RELATIONS = (("a", "to", "b"), ("b", "back", "a"), ("a", "beside", "a"))


def two_types(here):
    """The world's nodes in two types, the first seven and the others."""
    types = {"a": slice(0, 7), "b": slice(7, None)}
    x = Reps(IN).transform(here.inputs["x"], here.frames)
    edges = {}
    for relation in RELATIONS:
        (first, _, last), (senders, receivers) = relation, here.edge_index
        a, b = (torch.arange(len(x))[types[kind]] for kind in (first, last))
        kept = torch.isin(senders, a) & torch.isin(receivers, b)
        edges[relation] = here.edge_index[:, kept] - torch.stack([a[:1], b[:1]])
    nodes = ({kind: v[rows] for kind, rows in types.items()} for v in (x, here.frames))
    return dict(zip(HETERO, (next(nodes), edges, next(nodes)), strict=True))


def hetero_layers(dtype):
    metadata = ["a", "b"], list(RELATIONS)
    layer = pyg.HGTConv(C, D, metadata, heads=2).to(dtype)
    several = {relation: pyg.GATConv(C, D, add_self_loops=False) for relation in RELATIONS}
    parts = {relation: make_equivariant(part, IN, OUT) for relation, part in several.items()}
    return {
        "HGTConv": (layer, make_equivariant(layer, IN, OUT)),
        "HeteroConv": (pyg.HeteroConv(several).to(dtype), pyg.HeteroConv(parts).to(dtype)),
    }


@each_type
@each_turn
@pytest.mark.parametrize("name", ["HGTConv", "HeteroConv"])
def test_nodes_may_be_of_several_types(name, kind, dtype):
    plain, layer = hetero_layers(dtype)[name]
    here, turn = world(dtype), matrix(kind, dtype)

    def output(where):
        given = two_types(where)
        out = layer(**given)
        return {k: Reps(OUT).transform(x, given["frames_dict"][k].mT) for k, x in out.items()}

    same = two_types(here.without_frames())
    for of in "ab":
        rest = output(here)[of]
        assert_same(output(here.turned(turn))[of], Reps(OUT).transform(rest, turn), dtype)
        unmodified = plain(same["x_dict"], same["edge_index_dict"])[of]
        assert_same(layer(**same)[of], unmodified, dtype)
        assert (rest - unmodified).abs().max() > 1e-2


def test_a_layer_that_needs_a_converted_one_gets_it():
    inner = make_equivariant(pyg.GCNConv(C, C), IN, IN)
    layer = pyg.GPSConv(C, inner, norm=None).double()
    recipe = RECIPES["GCNConv"]._replace(inputs=(), out=IN)
    for kind in TURNS:
        assert_follows(layer, recipe, kind)


def test_any_callable_will_do():
    def layer(x, edge_index):
        senders, receivers = edge_index
        sent = torch.zeros_like(x).index_add(0, receivers, x[senders].tanh())
        return torch.cat([x, sent], 1)[:, 1:11]

    recipe = RECIPES["GCNConv"]._replace(inputs=(), out=IN)
    converted = make_equivariant(layer, IN, IN)
    assert converted.route == "rows"
    for kind in TURNS:
        assert_follows(converted, recipe, kind)
    same = world(torch.float64).without_frames()
    assert_same(same.output(converted, recipe), layer(**same.arguments(recipe)))


def test_edges_that_a_layer_makes_up_are_refused():
    layer = make_equivariant(pyg.DirGNNConv(pyg.GCNConv(C, D)).double(), IN, OUT)
    here, recipe = world(torch.float64), RECIPES["GCNConv"]._replace(inputs=())
    with pytest.raises(ValueError, match="edges that it was not given"):
        here.output(layer, recipe)

    both = torch.cat([here.edge_index, here.edge_index.flip(0)], 1)
    given = here._replace(edge_index=both)
    moved = given.turned(matrix("reflection")).output(layer, recipe)
    assert_same(moved, Reps(OUT).transform(given.output(layer, recipe), matrix("reflection")))


def test_what_is_passed_on_must_be_declared():
    recipe = RECIPES["GCNConv"]._replace(inputs=())
    layer = make_equivariant(pyg.GCN(C, 12, 2, D).double(), IN, OUT)
    with pytest.raises(ValueError, match="passes 12 columns on"):
        world(torch.float64).output(layer, recipe)


@pytest.mark.parametrize(
    ("reps", "complaint"), [((IN, IN), "needs 10 columns"), ((OUT, OUT), "8 columns")]
)
def test_columns_that_do_not_fit_are_refused(reps, complaint):
    here = world(torch.float64)
    layer = make_equivariant(pyg.SAGEConv(C, D).double(), *reps)
    with pytest.raises(ValueError, match=complaint):
        layer(here.inputs["x"], here.edge_index, here.frames)


def test_loops_need_as_many_senders_as_receivers():
    layer, here = make_equivariant(pyg.GATConv(C, D).double(), IN, OUT), world(torch.float64)
    few = here.edge_index[:, here.edge_index[0] < RECEIVERS]
    x, frames = ((v[:RECEIVERS], v) for v in (here.inputs["x"], here.frames))
    with pytest.raises(ValueError, match="without add_self_loops"):
        layer(x, few, frames)


@pytest.mark.parametrize("name", ["GATConv", "TransformerConv", "FAConv", "APPNP"])
def test_a_call_leaves_nothing_on_the_layer(name):
    recipe = RECIPES[name]
    layer, here = layer_and_world(name)
    converted, before = recipe.converted(layer), dict(layer.__dict__)
    other = here.turned(matrix("rotation"))
    alone = [where.output(converted, recipe) for where in (here, other)]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda i: (here, other)[i % 2].output(converted, recipe), range(8))
        )

    weights = layer.parameters(), converted.parameters()
    assert layer.__dict__ == before
    assert all(torch.equal(found, alone[i % 2]) for i, found in enumerate(together))
    assert all(one is other for one, other in zip(*weights, strict=True))


@pytest.mark.parametrize("name", ["GATConv", "GCNConv"])
def test_converted_layers_can_be_copied_and_stored(name):
    recipe, here = RECIPES[name], world(torch.float64)
    converted = recipe.converted(recipe.made().double())
    output = here.output(converted, recipe)
    assert torch.equal(here.output(copy.deepcopy(converted), recipe), output)
    assert torch.equal(here.output(pickle.loads(pickle.dumps(converted)), recipe), output)


@pytest.mark.parametrize("name", ["GATConv", "GCNConv", "PointTransformerConv"])
def test_gradients_reach_weights_features_and_frames(name):
    recipe, here = RECIPES[name], world(torch.float64)
    layer = recipe.converted(recipe.made().double())
    given, frames = here.arguments(recipe), here.frames.clone().requires_grad_()
    given["x"].requires_grad_()
    layer(**given, frames=frames).square().sum().backward()
    for tensor in (*layer.parameters(), given["x"], frames):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


def test_frames_are_exact_under_autocast():
    """A layer that only averages: all the arithmetic is that of the frames."""
    recipe, here = RECIPES["SimpleConv"], world(torch.float32)
    layer = recipe.converted(recipe.made())
    exact = layer(**here.arguments(recipe), frames=here.frames)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(layer(**here.arguments(recipe), frames=here.frames), exact, torch.float32)


def test_the_plane_has_vectors_of_two_components():
    reps = Reps("4x0n+3x1n", 2)
    layer = make_equivariant(pyg.GATConv(C, C).double(), reps, reps)
    here, turn = world(torch.float64), matrix("reflection")[:2, :2]
    turn = torch.linalg.qr(turn)[0]
    frames = torch.linalg.qr(here.frames[:, :2, :2])[0]
    x = here.inputs["x"]

    def output(x, frames):
        local = layer(reps.transform(x, frames), here.edge_index, frames)
        return reps.transform(local, frames.mT)

    moved = output(reps.transform(x, turn), frames @ turn.T)
    assert_same(moved, reps.transform(output(x, frames), turn))


def test_every_layer_of_pyg_is_in_the_table():
    originals = {getattr(pyg.conv, name).__name__ for name in layer_names()}
    assert originals == {*RECIPES, *NOT_CONVERTED, "HGTConv"}
    assert TABLE.read_text(encoding="utf-8") == table()  # python tests/pyg_layers.py
