import numpy as np
import pytest
import torch
from helpers import LAYER, ROUNDING, TURNS, cut, motion, rotation

from tfnormals.tensorframes import (
    EdgeLayer,
    Features,
    LazyNeighborhoods,
    Neighborhoods,
    layers,
    messages,
)

NODES, NEAR, HIDDEN = 50, 6, 10
PARITY = (1.0, 1.0, -1.0, 1.0, -1.0)
NARROW, WIDE = (4, 3), (6, 2)

each_turn = pytest.mark.parametrize("kind", TURNS)
each_width = pytest.mark.parametrize("outputs", [NARROW, WIDE], ids=["residual", "widening"])


def layer_to(outputs=NARROW, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EdgeLayer(NARROW, outputs, HIDDEN, PARITY).double()


def some(*shape, seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def features():
    return Features(some(NODES, NARROW[0], seed=0), some(3, NARROW[1], NODES, seed=1))


def receivers():
    """Random neighbourhoods of all nodes, the log envelope falling with the distance."""
    rng = np.random.default_rng(2)
    far = rng.random((NODES, NODES)) + 1 - np.eye(NODES)
    neighbors = np.argsort(far, axis=1)[:, :NEAR].T.copy()
    edges = some(layers.EDGE_FEATURES, NEAR, NODES, seed=3)
    edges[5] = -edges[5].abs()
    frames = np.stack([rotation(rng) for _ in range(NODES)], axis=2)
    return Neighborhoods(
        torch.from_numpy(frames),
        torch.from_numpy(neighbors),
        edges,
        some(NODES, len(PARITY), seed=4),
    )


def turned_world(kind):
    """The matrix of a rotation or reflection, and the features and receivers turned by it."""
    q = torch.from_numpy(motion(kind, NODES, np.random.default_rng(5)).matrix)
    sent, near = features(), receivers()
    moved = sent._replace(vectors=torch.einsum("ij,jvn->ivn", q, sent.vectors))
    return q, moved, near._replace(frames=torch.einsum("ijn,kj->ikn", near.frames, q))


def assert_layer_follows(layer, kind):
    q, moved, near = turned_world(kind)
    rest, other = layer(features(), receivers()), layer(moved, near)
    turned = torch.einsum("ij,jvn->ivn", q, rest.vectors)
    torch.testing.assert_close(other.scalars, rest.scalars, rtol=0, atol=LAYER)
    torch.testing.assert_close(other.vectors, turned, rtol=0, atol=LAYER)


@each_turn
@each_width
def test_scalars_stay_and_vectors_turn_with_the_world(kind, outputs):
    assert_layer_follows(layer_to(outputs), kind)


@each_width
def test_left_handed_frames_give_what_right_handed_ones_give(outputs):
    layer, near = layer_to(outputs), receivers()
    last = torch.tensor([1.0, 1.0, -1.0])
    mirror = torch.cat([last, torch.ones(3)])
    left = near._replace(
        frames=near.frames * last[:, None, None],
        edges=near.edges * mirror[:, None, None],
        moments=near.moments * torch.tensor(PARITY),
    )

    one, other = layer(features(), near), layer(features(), left)

    torch.testing.assert_close(other.scalars, one.scalars, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(other.vectors, one.vectors, rtol=0, atol=ROUNDING)


@each_turn
def test_a_layer_with_a_direction_of_its_own_is_found_out(kind):
    layer = layer_to()

    def biased(sent, near):
        result = layer(sent, near)
        return result._replace(vectors=result.vectors + 1e-3)

    with pytest.raises(AssertionError):
        assert_layer_follows(biased, kind)


@pytest.mark.parametrize("chunk", [1, 7, 25, NODES])
@each_width
def test_receivers_in_chunks_give_the_same_as_all_at_once(chunk, outputs, monkeypatch):
    layer = layer_to(outputs)
    with torch.no_grad():
        whole = layer(features(), receivers())
        cut(monkeypatch, chunk)
        parts = layer(features(), receivers())

    assert parts.scalars.shape == (NODES, outputs[0])
    assert parts.vectors.shape == (3, outputs[1], NODES)
    torch.testing.assert_close(parts.scalars, whole.scalars, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(parts.vectors, whole.vectors, rtol=0, atol=ROUNDING)


def test_training_and_inference_agree(monkeypatch):
    cut(monkeypatch, 7)
    layer = layer_to()
    trained = layer(features(), receivers())
    with torch.no_grad():
        inferred = layer(features(), receivers())

    torch.testing.assert_close(trained.scalars, inferred.scalars, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(trained.vectors, inferred.vectors, rtol=0, atol=ROUNDING)


def placed_receivers(dtype=torch.float64):
    """Neighbourhoods of nodes that have places, which loops measure as they go."""
    near = receivers()
    positions = some(3, NODES, seed=6)
    offset = positions[:, near.neighbors] - positions[:, None]
    reach = 1.5 * (offset**2).sum(0).max(0).values
    return LazyNeighborhoods(
        near.frames.to(dtype),
        near.neighbors.int(),
        positions,
        reach,
        1.3,
        near.moments.to(dtype),
    )


def test_of_nearly_equal_distances_an_edge_does_not_tell_the_rounding():
    near = placed_receivers()
    barely = near.reach / 1.5 * (1 + 1e-10)
    rounded = torch.nextafter(barely, 2 * barely)

    here, there = (near._replace(reach=reach).edges for reach in (barely, rounded))

    torch.testing.assert_close(here, there, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("chunk", [1, 7, NODES])
@each_width
def test_loops_hear_what_tensors_hear(chunk, outputs, monkeypatch):
    layer, near = layer_to(outputs), placed_receivers()
    expected = layer(features(), layers.measured(near))
    cut(monkeypatch, chunk)
    monkeypatch.setattr(messages, "POOLED", 5 * HIDDEN)

    with torch.no_grad():
        found = layer(features(), near)

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=ROUNDING)


def test_loops_hear_the_same_in_single_precision():
    layer, sent = layer_to(), features()
    with torch.no_grad():
        expected = layer(sent, placed_receivers())
        found = layer.float()(
            Features(*(part.float() for part in sent)), placed_receivers(torch.float32)
        )

    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=0, atol=1e-5)


def gradients(layer, near, among):
    """Of all inputs and weights, for an arbitrary loss."""
    layer.zero_grad()
    sent = Features(*(part.requires_grad_() for part in features()))
    for index, part in enumerate(layer(sent, near, among)):
        (part * some(*part.shape, seed=7 + index)).sum().backward(retain_graph=index == 0)
    return [tensor.grad.clone() for tensor in (*sent, *layer.parameters())]


@pytest.mark.parametrize("chunk", [7, NODES])
@pytest.mark.parametrize("among", [None, torch.tensor([41, 3, 17])], ids=["all", "some"])
@each_width
def test_loops_have_the_gradients_of_tensors(chunk, among, outputs, monkeypatch):
    layer, near = layer_to(outputs), placed_receivers()
    expected = gradients(layer, layers.measured(near), among)
    cut(monkeypatch, chunk)
    monkeypatch.setattr(messages, "POOLED", 5 * HIDDEN)

    found = gradients(layer, near, among)

    for one, other in zip(found, expected, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=0, atol=LAYER)


def test_of_equal_messages_the_first_gets_the_gradient_of_the_maximum():
    near = placed_receivers()
    near.neighbors[2:] = near.neighbors[1]
    half = layer_to().sender.out_features // 2
    sent = torch.zeros(NODES, 2 * half, dtype=torch.float64, requires_grad=True)
    weights = [some(*shape, seed=8) for shape in ((5 + 2 * 3, 2 * half), (1 + 3, 2 * half))]

    heard = messages.PooledMessages.apply(
        sent, some(NODES, 9, seed=9), *weights, layers.placed(near)
    )
    heard[0, :, :half].sum().backward()

    assert sent.grad[:, :half].sum() == NODES * half
    assert (sent.grad[:, half:] == 0).all()


@pytest.mark.parametrize("place", [receivers, placed_receivers])
@pytest.mark.parametrize("learning", [True, False])
@each_width
def test_some_of_the_receivers_get_what_they_get_among_all(place, learning, outputs):
    layer, rows = layer_to(outputs), torch.tensor([41, 3, 17])
    with torch.set_grad_enabled(learning):
        whole, few = layer(features(), place()), layer(features(), place(), rows)

    torch.testing.assert_close(few.scalars, whole.scalars[rows], rtol=0, atol=ROUNDING)
    torch.testing.assert_close(few.vectors, whole.vectors[..., rows], rtol=0, atol=ROUNDING)


def test_the_order_of_the_neighbours_does_not_matter():
    layer, near = layer_to(), receivers()
    order = [0, *range(NEAR - 1, 0, -1)]
    other = near._replace(neighbors=near.neighbors[order], edges=near.edges[:, order])

    rest, shuffled = layer(features(), near), layer(features(), other)

    torch.testing.assert_close(shuffled.scalars, rest.scalars, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(shuffled.vectors, rest.vectors, rtol=0, atol=ROUNDING)


def with_last_neighbor(log_envelope, sender):
    """Receivers whose last neighbour is the given one, everywhere, at a given envelope."""
    near = receivers()
    near.neighbors[-1] = sender
    near.edges[5, -1] = log_envelope
    return near


def test_a_neighbour_whose_envelope_vanishes_has_no_influence():
    layer, gone = layer_to(), float(np.log(1e-13))

    one, other = (layer(features(), with_last_neighbor(gone, sender)) for sender in (3, 8))
    heard, listened = (layer(features(), with_last_neighbor(0.0, sender)) for sender in (3, 8))

    assert torch.equal(one.scalars, other.scalars)
    assert torch.equal(one.vectors, other.vectors)
    assert (heard.scalars - listened.scalars).abs().max() > 1e-3


def test_a_neighbour_fades_out_without_a_jump():
    layer = layer_to()

    def output(log_envelope):
        with torch.no_grad():
            return layer(features(), with_last_neighbor(log_envelope, 3)).scalars

    low, high = -30.0, 0.0
    assert (output(high) - output(low)).abs().max() > 0.1
    for _ in range(40):  # closes in on a jump, were there one
        middle = (low + high) / 2
        falls = [(output(end) - output(middle)).abs().max() for end in (low, high)]
        low, high = (low, middle) if falls[0] > falls[1] else (middle, high)
    assert (output(high) - output(low)).abs().max() < LAYER


@each_width
def test_gradients_reach_every_weight_and_every_input(outputs):
    layer, sent = layer_to(outputs), features()
    sent.scalars.requires_grad_()
    sent.vectors.requires_grad_()

    result = layer(sent, receivers())
    (result.scalars.square().sum() + result.vectors.square().sum()).backward()

    for tensor in (*layer.parameters(), sent.scalars, sent.vectors):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("chunk", [7, layers.POOL_CHUNK])
def test_gradients_are_exact(chunk, monkeypatch):
    monkeypatch.setattr(layers, "POOL_CHUNK", chunk)
    layer, near = layer_to(), receivers()

    def output(scalars, vectors):
        return tuple(layer(Features(scalars, vectors), near))

    sent = features()
    inputs = sent.scalars.requires_grad_(), sent.vectors.requires_grad_()
    assert torch.autograd.gradcheck(output, inputs, fast_mode=True)


def test_arguments_are_not_changed():
    sent, near = features(), receivers()
    with torch.no_grad():
        layer_to()(sent, near)

    for one, other in zip((*sent, *near), (*features(), *receivers()), strict=True):
        assert torch.equal(one, other)


def single_precision():
    sent, near = features(), receivers()
    single = Neighborhoods(near.frames.float(), near.neighbors, *(p.float() for p in near[2:]))
    return Features(*(part.float() for part in sent)), single


def test_float32_follows_float64():
    exact = layer_to()(features(), receivers())

    found = layer_to().float()(*single_precision())

    assert found.scalars.dtype is found.vectors.dtype is torch.float32
    torch.testing.assert_close(found.scalars.double(), exact.scalars, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.vectors.double(), exact.vectors, rtol=0, atol=1e-5)


@each_width
def test_the_frame_algebra_stays_float32_under_autocast(outputs):
    layer = layer_to(outputs).float()
    full = layer(*single_precision())

    with torch.autocast("cpu", torch.bfloat16):
        found = layer(*single_precision())
    found.vectors.sum().backward()

    assert found.scalars.dtype is found.vectors.dtype is torch.float32
    for half, whole in zip(found, full, strict=True):
        assert 0 < (half - whole).abs().max() < 0.02 * whole.abs().max()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters() if p.grad is not None)


@each_width
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_a_layer_compiles_without_graph_breaks(outputs):
    layer = layer_to(outputs)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)

    found, expected = compiled(features(), receivers()), layer(features(), receivers())
    found.vectors.sum().backward()

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=ROUNDING)
    assert layer.edge.weight.grad.abs().sum() > 0
