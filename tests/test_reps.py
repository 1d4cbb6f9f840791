import dataclasses
import warnings
from functools import reduce

import numpy as np
import pytest
import torch
from helpers import ROUNDING
from hypothesis import given, settings
from hypothesis import strategies as st

from tfnormals.errors import TfnormalsError
from tfnormals.tensorframes.cartesian import from_traceless, to_parts, to_traceless
from tfnormals.tensorframes.reps import Rep, Reps, RepsError

EVERYTHING = "2x0n+1x0p+3x1n+2x1p+2x2n+1x2p+2x2s+1x2q+1x3n+2x3s+1x4s+1x1s+1x0q"
each_dimension = pytest.mark.parametrize("d", [1, 2, 3, 4])
each_explicit_dimension = pytest.mark.parametrize("d", [2, 3, 4])
each_order = pytest.mark.parametrize("order", range(5))
some_blocks = st.lists(
    st.builds(Rep, st.integers(0, 99), st.integers(0, 6), st.sampled_from("npsq")), max_size=6
)
each_representation = given(some_blocks, st.integers(1, 5))


def matrices(*shape, d, seed=0):
    """Random orthogonal matrices (*shape, d, d), about half of them reflections."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(*shape, d, d)))[0]
    q[..., 0, :] *= rng.choice([-1.0, 1.0], size=(*shape, 1))
    return torch.from_numpy(q)


def features(*shape, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def turned_by_formula(tensors, R):
    """T'_ijk = R_ia R_jb R_kc T_abc for tensors (n, m, d, ..., d) and matrices (n, d, d)."""
    order = tensors.ndim - 2
    old, new = "abcdef"[:order], "ijklmn"[:order]
    factors = "".join(f"z{i}{a}," for i, a in zip(new, old, strict=True))
    return torch.einsum(f"{factors}zm{old}->zm{new}", *[R] * order, tensors)


def example(text=EVERYTHING, d=3, count=6):
    """Representations, some features and a matrix for each of them."""
    reps = Reps(text, d)
    return reps, features(count, reps.dim), matrices(count, d=d)


def assert_same(result, expected):
    torch.testing.assert_close(result, expected, rtol=0, atol=ROUNDING)


# Text and blocks


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("16x0n+8x1n+2x1p+4x2n+3x2s", "16x0n+8x1n+2x1p+4x2n+3x2s"),
        ("1n", "1x1n"),
        (" 2x0p + 2s ", "2x0p+1x2s"),
        ("0x1n", "0x1n"),
        ("12x10q", "12x10q"),
        ("", ""),
    ],
)
def test_text_is_read_and_printed(text, printed):
    assert str(Reps(text)) == printed


@each_representation
@settings(deadline=None)
def test_what_is_printed_reads_back_as_the_same(blocks, d):
    reps = Reps(blocks, d)

    again = Reps(str(reps), reps.dimension)

    assert again == reps
    assert hash(again) == hash(reps)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("8x1n+3y", "'3y'"),
        ("8x1n+", "''"),
        ("8x1n++2s", "''"),
        ("x1n", "'x1n'"),
        ("8x", "'8x'"),
        ("-1x0n", "'-1x0n'"),
        ("1.5x0n", "'1.5x0n'"),
        ("8X1n", "'8X1n'"),
        ("8x1N", "'8x1N'"),
        ("8x1n 2x0n", "'8x1n 2x0n'"),
        ("٣x1n", "'٣x1n'"),
        ("16x0n,8x1n", "'16x0n,8x1n'"),
        ("1x0e", "'1x0e'"),
    ],
)
def test_the_malformed_part_is_named(text, part):
    with pytest.raises(RepsError, match="write multiplicity x order kind") as raised:
        Reps(text)

    assert str(raised.value).startswith(f"{part} in {text!r}: not a block")


@pytest.mark.parametrize("block", [Rep(-1, 0, "n"), Rep(1, -1, "n"), Rep(1, 0, "e")], ids=repr)
def test_a_malformed_block_is_named(block):
    with pytest.raises(RepsError, match="multiplicity and order must not be negative") as raised:
        Reps([block])

    assert repr(block) in str(raised.value)


@pytest.mark.parametrize("dimension", [0, -3])
def test_a_space_has_a_dimension(dimension):
    with pytest.raises(RepsError, match=f"dimension {dimension}: must be at least 1"):
        Reps("1n", dimension)


def test_an_error_is_a_value_error_that_the_caller_can_fix():
    assert issubclass(RepsError, ValueError)
    assert issubclass(RepsError, TfnormalsError)


@pytest.mark.parametrize(
    ("text", "dims"),
    [
        ("0n", [1, 1, 1, 1]),
        ("0p", [1, 1, 1, 1]),
        ("1n", [1, 2, 3, 4]),
        ("1s", [1, 2, 3, 4]),
        ("2n", [1, 4, 9, 16]),
        ("2s", [0, 2, 5, 9]),
        ("3p", [1, 8, 27, 64]),
        ("3q", [0, 2, 7, 16]),
        ("4s", [0, 2, 9, 25]),
    ],
)
def test_number_of_columns(text, dims):
    assert [Reps(text, d).dim for d in (1, 2, 3, 4)] == dims


def test_an_example_in_full():
    reps = Reps("4x0n+2x1p+2x2s")

    assert list(reps) == [Rep(4, 0, "n"), Rep(2, 1, "p"), Rep(2, 2, "s")]
    assert len(reps) == 3
    assert reps.dim == 20
    assert reps.slices == (slice(0, 4), slice(4, 10), slice(10, 20))
    assert repr(reps) == "Reps('4x0n+2x1p+2x2s', dimension=3)"


@each_representation
@settings(deadline=None)
def test_slices_lie_one_after_the_other(blocks, d):
    reps = Reps(blocks, d)
    starts = [columns.start for columns in reps.slices]
    stops = [columns.stop for columns in reps.slices]

    assert [0, *stops] == [*starts, reps.dim]
    assert [b - a for a, b in zip(starts, stops, strict=True)] == [
        Reps([block], reps.dimension).dim for block in reps
    ]


@given(some_blocks, some_blocks)
@settings(deadline=None)
def test_concatenation_puts_blocks_after_blocks(left, right):
    both = Reps(left) + Reps(right)

    assert both == Reps(left + right)
    assert both.dim == Reps(left).dim + Reps(right).dim


def test_dimensions_do_not_mix():
    with pytest.raises(RepsError, match="the dimensions differ"):
        Reps("1n", 2) + Reps("1n", 3)


@each_representation
@settings(deadline=None)
def test_the_blocks_of_all_orders_are_all_blocks(blocks, d):
    reps = Reps(blocks, d)
    by_order = reduce(Reps.__add__, [reps.of_order(order) for order in range(7)])

    assert list(by_order) == sorted(reps, key=lambda block: block.order)
    assert all(block.order == 2 for block in reps.of_order(2))


@pytest.mark.parametrize("other", [Reps("1n", 2), Reps("2x1n"), Reps("1p"), Reps(""), "1x1n"])
def test_representations_that_differ_are_not_equal(other):
    assert Reps("1n") != other


def test_representations_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Reps("1n").blocks = ()


# The law of transformation


@each_explicit_dimension
@each_order
@pytest.mark.parametrize("kind", "np")
def test_tensors_follow_the_index_formula(d, order, kind):
    reps = Reps([Rep(2, order, kind)], d)
    x, R = features(6, reps.dim), matrices(6, d=d)

    expected = turned_by_formula(x.reshape(6, 2, *[d] * order), R).flatten(1)

    sign = torch.linalg.det(R).round()[:, None] if kind == "p" else 1
    assert_same(reps.transform(x, R), sign * expected)


@each_explicit_dimension
@each_order
@pytest.mark.parametrize("kind", "sq")
def test_symmetric_traceless_tensors_follow_the_index_formula(d, order, kind):
    reps = Reps([Rep(2, order, kind)], d)
    x, R = features(6, reps.dim), matrices(6, d=d)

    tensors = from_traceless(x.unflatten(1, (2, -1)), order, d)
    expected = turned_by_formula(tensors.reshape(6, 2, *[d] * order), R).reshape(tensors.shape)

    sign = torch.linalg.det(R).round()[:, None, None] if kind == "q" else 1
    result = from_traceless(reps.transform(x, R).unflatten(1, (2, -1)), order, d)
    assert_same(result, sign * expected)


@each_dimension
def test_the_identity_changes_nothing(d):
    reps = Reps(EVERYTHING, d)
    x = features(4, reps.dim)

    assert_same(reps.transform(x, torch.eye(d, dtype=x.dtype)), x)


@each_dimension
def test_two_turns_are_one_turn(d):
    reps, x, R = example(d=d)
    S = matrices(6, d=d, seed=2)

    assert_same(reps.transform(reps.transform(x, S), R), reps.transform(x, R @ S))


@each_dimension
def test_turning_is_orthogonal(d):
    reps, x, R = example(d=d)
    y = features(6, reps.dim, seed=3)

    inner = (reps.transform(x, R) * reps.transform(y, R)).sum(1)

    torch.testing.assert_close(inner, (x * y).sum(1), rtol=ROUNDING, atol=ROUNDING)


@each_dimension
def test_the_transposed_matrix_turns_back(d):
    reps, x, R = example(d=d)

    assert_same(reps.transform(reps.transform(x, R), R.mT), x)


@pytest.mark.parametrize(("text", "d"), [("8s", 3), ("2x2s+2q+3p", 6), ("3s", 5), ("6n", 2)])
def test_high_orders_and_dimensions(text, d):
    reps, x, R = example(text, d)
    S = matrices(6, d=d, seed=2)

    assert_same(reps.transform(reps.transform(x, S), R), reps.transform(x, R @ S))


@pytest.fixture
def o3():
    """Part of e3nn, whose matrices are as exact as the default type."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("e3nn.o3", reason="e3nn is the independent oracle")
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        yield module
        torch.set_default_dtype(default)


@pytest.mark.parametrize("parity", [1, -1], ids=["even", "odd"])
@each_order
def test_e3nn_agrees(o3, order, parity):
    """The change of basis that spherical harmonics give carries our matrices into theirs."""
    v, R = torch.nn.functional.normalize(features(40, 3), dim=1), matrices(6, d=3)
    one = v.new_ones(len(v), 1)
    powers = reduce(lambda t, _: (t[:, :, None] * v[:, None]).flatten(1), range(order), one)
    harmonics = o3.spherical_harmonics(order, v, normalize=True, normalization="norm")
    change = torch.linalg.lstsq(to_traceless(powers, order, 3), harmonics).solution
    change = change / change.norm(dim=0)
    kind = "s" if parity == (-1) ** order else "q"

    ours = Reps([Rep(1, order, kind)]).transform(change.mT, R[:, None]) @ change

    assert_same(ours, o3.Irrep(order, parity).D_from_matrix(R).mT)


@each_explicit_dimension
@each_order
def test_taking_the_traceless_part_commutes_with_turning(d, order):
    tensors, parts = Reps([Rep(1, order, "n")], d), Reps([Rep(1, order, "s")], d)
    x, R = features(5, tensors.dim), matrices(5, d=d)

    result = to_traceless(tensors.transform(x, R), order, d)

    assert_same(result, parts.transform(to_traceless(x, order, d), R))


@pytest.mark.parametrize(("text", "d"), [("0n+2s", 1), ("0n+0p+2s", 2), ("0n+1p+2s", 3)])
def test_the_parts_of_a_matrix_turn_as_promised(text, d):
    x, R = features(5, d * d), matrices(5, d=d)

    result = torch.cat(to_parts(Reps("2n", d).transform(x, R), d), 1)

    assert_same(result, Reps(text, d).transform(torch.cat(to_parts(x, d), 1), R))


# Shapes, types, gradients


@pytest.mark.parametrize(
    ("x", "R"),
    [
        ((), ()),
        ((5,), ()),
        ((5, 4), ()),
        ((5, 4), (5, 1)),
        ((5, 4), (5, 4)),
        ((), (5,)),
        ((4,), (5, 1)),
        ((0,), (0,)),
    ],
)
def test_matrices_are_broadcast_against_features(x, R):
    reps = Reps(EVERYTHING)
    x, R = features(*x, reps.dim), matrices(*R, d=3)
    lead = torch.broadcast_shapes(x.shape[:-1], R.shape[:-2])

    result = reps.transform(x, R)

    each = reps.transform(
        x.expand(*lead, -1).reshape(-1, reps.dim), R.expand(*lead, 3, 3).reshape(-1, 3, 3)
    )
    assert_same(result, each.reshape(*lead, reps.dim))


@pytest.mark.parametrize("text", ["", "0x1n", "3x0n", "0x2s+2x0n+0x1p"])
def test_matrices_are_broadcast_when_there_is_nothing_to_turn(text):
    reps = Reps(text)
    x = features(4, reps.dim)

    result = reps.transform(x, matrices(5, 1, d=3))

    assert torch.equal(result, x.expand(5, 4, -1))


def test_scalars_are_not_copied():
    x = features(4, 3)

    assert Reps("3x0n").transform(x, matrices(4, d=3)).data_ptr() == x.data_ptr()


def test_arguments_are_not_changed():
    reps, x, R = example()

    reps.transform(x, R)

    assert torch.equal(x, example()[1])
    assert torch.equal(R, example()[2])


@pytest.mark.parametrize(("columns", "d"), [(3, 3), (5, 3), (0, 3), (4, 2)])
def test_shapes_that_do_not_fit_are_named(columns, d):
    with pytest.raises(ValueError, match=r"\(7, .*Reps\('1x0n\+1x1n', dimension=3\)"):
        Reps("0n+1n").transform(features(7, columns), matrices(7, d=d))


def test_float32_is_as_exact_as_it_can_be():
    reps, x, R = example()

    result = reps.transform(x.float(), R.float())

    assert result.dtype is torch.float32
    torch.testing.assert_close(result.double(), reps.transform(x, R), rtol=0, atol=1e-5)


@pytest.mark.parametrize("text", ["2x0n", "2x1n", "2x1n+2s+1p"])
def test_the_wider_type_is_kept(text):
    reps, x, R = example(text)

    assert reps.transform(x.bfloat16(), R.float()).dtype is torch.float32
    assert reps.transform(x.float(), R).dtype is torch.float64
    assert reps.transform(x, R.float()).dtype is torch.float64


def test_autocast_does_not_make_it_coarser():
    reps = Reps(EVERYTHING)
    x, R = features(4, reps.dim).float(), matrices(4, d=3).float()

    with torch.autocast("cpu", torch.bfloat16):
        result = reps.transform(x, R)

    assert torch.equal(result, reps.transform(x, R))


@pytest.mark.parametrize("text", ["0n+0p+1n+1p", "2n+2s+2q", "3n+3s"])
@pytest.mark.parametrize("d", [2, 3])
def test_gradients_flow_through_features_and_matrices(text, d):
    reps, x, R = example(text, d, 2)
    inputs = (x.requires_grad_(), R.requires_grad_())

    assert torch.autograd.gradcheck(reps.transform, inputs, check_forward_ad=True, fast_mode=True)


def test_one_turn_may_be_mapped_over_many():
    reps, x, R = example()

    assert_same(torch.vmap(reps.transform)(x, R), reps.transform(x, R))


def test_training_works_after_inference_mode():
    reps, x, R = example("2s", d=7)  # used nowhere else, so that its constants are made here
    with torch.inference_mode():
        reps.transform(x, R)

    reps.transform(x, R.requires_grad_()).sum().backward()

    assert R.grad.isfinite().all()


def test_it_compiles_without_graph_breaks():
    torch.compiler.reset()
    compiled = torch.compile(
        lambda reps, x, R: reps.transform(reps.transform(x, R), R), fullgraph=True, backend="eager"
    )
    cases = [(Reps("0n+1n+1p+2s"), 4), (Reps("2x2n+3x3s", 2), 7)]

    for reps, count in cases:
        x, R = features(count, reps.dim), matrices(count, d=reps.dimension)
        assert_same(compiled(reps, x, R), reps.transform(reps.transform(x, R), R))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each_dimension
def test_cuda_agrees(d):
    reps, x, R = example(d=d)

    assert_same(reps.transform(x.cuda(), R.cuda()).cpu(), reps.transform(x, R))
