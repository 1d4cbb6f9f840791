import copy

import numpy as np
import pytest
import torch
from helpers import cube, rotation, torus
from torch import nn

from tfnormals.estimation import estimate
from tfnormals.tensorframes.invariants import fusion_invariants
from tfnormals.tensorframes.lie import (
    LINE,
    SCALAR,
    VECTOR,
    Output,
    diagnosis,
    generators,
    local_error,
)
from tfnormals.tensorframes.lie_layers import ANSWER, Layer, layer_errors
from tfnormals.tensorframes.reps import Reps

EXACT = 1e-24
"""Squared rounding of float64, with a margin."""
TRANSFORMS = ["rotation", "translation", "scale"]
UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def cloud(count=60, d=3):
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(count, d)))
    return points - points.mean(0)


def neighborhoods(points, k=8):
    """Offsets (n, k, 3) and reach (n,); who is a neighbour has no derivative."""
    still = points.detach()
    rows = torch.cdist(still, still).topk(k + 1, largest=False).indices
    offsets = points[rows] - points[:, None]
    return offsets[:, :k], offsets[:, k].norm(dim=1)


class Mixing(nn.Module):
    """Vectors (n, c, 3) mixed with invariant weights, scaled by a nonlinear invariant; or with a
    lean to one direction of space, which no equivariant layer has."""

    def __init__(self, inputs, outputs, lean=0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(inputs)
        weight = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64)
        self.weight, self.lean = nn.Parameter(weight / inputs**0.5), lean

    def forward(self, vectors):
        mixed = self.weight @ vectors
        return mixed * torch.tanh(mixed.norm(dim=-1, keepdim=True)) + self.lean * UP


class Network(nn.Module):
    """Vectors out of neighbourhoods, through three layers; all equivariant up to the leans."""

    def __init__(self, *leans):
        super().__init__()
        self.layers = nn.ModuleList(
            Mixing(*sizes, lean)
            for sizes, lean in zip([(17, 6), (6, 4), (4, 1)], leans, strict=True)
        )

    def forward(self, points):
        offsets, reach = neighborhoods(points)
        weights = fusion_invariants(offsets, reach)
        arrow = (offsets / reach[:, None, None]).mean(1)
        vectors = weights[:, :, None] * arrow[:, None]
        for layer in self.layers:
            vectors = layer(vectors)
        return vectors[:, 0]

    def watched(self):
        return {f"layer {i}": Layer(layer, (VECTOR,)) for i, layer in enumerate(self.layers)}


EQUIVARIANT = Network(0.0, 0.0, 0.0)


def leaning(points):
    """A direction, away from the mean, with a smooth lean."""
    return points - points.mean(0) + 0.1 * UP


def hard_sign(points):
    """A direction whose sign is rounding noise: the side of flat clouds."""
    normal = torch.linalg.eigh(points.mT @ points)[1][:, 0]
    side = (points @ normal * points.square().sum(1)).sum()
    return torch.where(side < 0, -normal, normal).expand(len(points), 3)


@pytest.mark.parametrize("step", [None, 1e-4])
@pytest.mark.parametrize("output", [VECTOR, LINE], ids=["vector", "line"])
@pytest.mark.parametrize("d", [2, 3, 4])
def test_constant_field_has_the_closed_form(d, output, step):
    field = torch.arange(1.0, d + 1, dtype=torch.float64).expand(7, d)

    error = local_error(lambda points: field + 0 * points, cloud(7, d), output=output, step=step)

    assert error.relative == pytest.approx(2 / d, rel=1e-15 if step is None else 1e-8)


def test_generators_are_orthonormal():
    turns = torch.stack([g.rotation for g in generators("rotation", cloud(5, 4))])

    gram = -torch.einsum("aij,bji->ab", turns, turns) / 2
    torch.testing.assert_close(gram, torch.eye(6, dtype=torch.float64))


def test_derivative_is_that_of_the_formula():
    points, mix = cloud(5), cloud(5, 5)

    def model(points):
        return torch.sin(mix @ points) + points[:, :1] * UP

    J = torch.func.jacfwd(model)(points)
    squares = [
        (torch.einsum("idje,je->id", J, points @ g.rotation.T) - model(points) @ g.rotation.T)
        .square()
        .sum(1)
        for g in generators("rotation", points)
    ]
    expected = torch.stack(squares).mean(0) / model(points).square().sum(1).mean()

    error = local_error(model, points)

    torch.testing.assert_close(error.rows, expected)
    assert error.relative == pytest.approx(expected.mean().item())


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("output", [VECTOR, LINE], ids=["vector", "line"])
def test_equivariant_network_is_exact(transform, output):
    assert local_error(EQUIVARIANT, cloud(), transform, output).relative < EXACT


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_equivariant_network_is_diagnosed_as_exact(transform):
    assert diagnosis(EQUIVARIANT, cloud(), transform).verdict == "exact"


def test_invariants_are_scalars_and_vectors_are_not():
    points = cloud()

    assert (
        local_error(lambda p: fusion_invariants(*neighborhoods(p)), points, output=SCALAR)[0]
        < EXACT
    )
    assert local_error(EQUIVARIANT, points, output=SCALAR).relative == pytest.approx(2 / 3)


def test_reps_say_how_features_turn():
    def model(points):
        outer = (points[:, :, None] * points[:, None]).flatten(1)
        return torch.cat([points.norm(dim=1, keepdim=True), points, outer], 1)

    right, wrong = (Output(Reps(text).transform) for text in ("0n+1n+2n", "4x0n+3x1n"))

    assert local_error(model, cloud(), output=right).relative < EXACT
    assert local_error(model, cloud(), output=wrong).relative > 0.1


@pytest.mark.parametrize(("transform", "error"), [("translation", 1), ("scale", 1)])
def test_positions_follow_neither_translations_nor_scales(transform, error):
    assert local_error(lambda points: points, cloud(), transform).relative == pytest.approx(error)


def test_degree_says_how_an_answer_grows():
    assert local_error(lambda p: p, cloud(), "scale", Output(VECTOR.turn, degree=1)).relative == 0


def test_error_does_not_depend_on_the_unit():
    def relative(unit):
        lean = 0.1 * unit * UP
        return [local_error(lambda p: p + lean, unit * cloud(), t).relative for t in TRANSFORMS]

    assert relative(1e3) == pytest.approx(relative(1.0))


def test_rows_tell_where_the_error_is():
    def model(points):
        return points + torch.eye(60, 1).double() * UP

    rows = local_error(model, cloud()).rows

    assert rows[0] > 0.1 / 60
    assert rows[1:].max() < EXACT


def test_answer_of_one_row_for_the_whole_cloud():
    assert local_error(lambda p: p.norm(dim=1).max()[None], cloud(), output=SCALAR)[0] < EXACT


def test_answer_of_zeros_is_exact():
    assert local_error(torch.zeros_like, cloud()).relative == 0


def test_rotating_a_line_is_refused():
    with pytest.raises(ValueError, match="two dimensions or more"):
        local_error(lambda points: points, cloud(5, 1))


def test_line_ignores_length_and_sign():
    def model(points):
        arrow = EQUIVARIANT(points)
        flipped = torch.where(points[:, :1] > 0, -arrow, arrow)
        return flipped * (2 + points[:, 1:2].sin())

    assert local_error(model, cloud(), output=LINE).relative < EXACT
    assert diagnosis(model, cloud(), output=LINE).verdict == "exact"
    assert local_error(model, cloud(), output=VECTOR).relative > 1e-3


@pytest.mark.parametrize("output", [VECTOR, LINE], ids=["vector", "line"])
def test_central_difference_agrees_with_the_derivative(output):
    exact, finite = (local_error(leaning, cloud(), output=output, step=h) for h in (None, 1e-4))

    assert finite.relative == pytest.approx(exact.relative, rel=1e-6)


def test_smooth_error_does_not_grow():
    found = diagnosis(leaning, cloud())

    assert found.verdict == "smooth"
    assert abs(found.growth) < 0.01


def test_derivative_is_blind_to_a_jump_and_the_diagnosis_is_not():
    flat = torch.from_numpy(cube(200, np.random.default_rng(0))[0]) * torch.tensor([1, 0.6, 0])
    flat = flat @ torch.from_numpy(rotation(np.random.default_rng(1))).T

    found = diagnosis(hard_sign, flat)

    assert local_error(hard_sign, flat).relative < 1e-20
    assert found.verdict == "jump"
    assert found.growth == pytest.approx(2, abs=0.3)
    assert diagnosis(hard_sign, flat, output=LINE).verdict == "exact"


def test_nearest_neighbor_jumps_all_over_space():
    points = cloud(2000) * torch.tensor([1.0, 1.0, 0.01])

    def cells(points):
        return torch.floor(20 * points)

    found = diagnosis(cells, points, output=SCALAR)

    assert found.verdict == "jump"
    assert found.growth == pytest.approx(1, abs=0.3)


def test_answer_that_is_not_finite_is_not_exact():
    found = diagnosis(lambda points: points * torch.nan, cloud())

    assert found.verdict != "exact"
    assert np.isnan(found.errors[0].relative)


def test_search_that_is_not_cut_off_is_an_error_and_no_certificate():
    with pytest.raises(NotImplementedError, match="forward AD"), torch.no_grad():
        local_error(lambda points: points * torch.cdist(points, points).mean(), cloud())


def test_numpy_in_a_model_is_an_error_and_no_certificate():
    with pytest.raises(RuntimeError, match="storage"):
        local_error(lambda points: torch.from_numpy(points.numpy()), cloud())


@pytest.mark.parametrize("step", [None, 1e-4])
def test_layers_of_an_equivariant_network_are_exact(step):
    found = layer_errors(EQUIVARIANT, cloud(), EQUIVARIANT.watched(), step=step)

    assert [error.name for error in found] == ["layer 0", "layer 1", "layer 2", ANSWER]
    assert max(max(error.own, error.reaching) for error in found) < 1e-18


@pytest.mark.parametrize("step", [None, 1e-4])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_the_layer_that_errs_is_found_and_accounts_for_all_of_it(bad, step):
    network = Network(*(0.3 * (i == bad) for i in range(3)))

    found = layer_errors(network, cloud(), network.watched(), step=step)

    total = local_error(network, cloud(), step=step).relative
    assert total > 1e-4
    assert found[bad].own > 1e-3
    assert found[bad].reaching == pytest.approx(total, rel=1e-6)
    others = [error for error in found if error is not found[bad]]
    assert max(max(error.own, error.reaching) for error in others) < 1e-12


def test_error_outside_of_the_layers_is_that_of_the_answer():
    found = layer_errors(lambda points: EQUIVARIANT(points) + UP, cloud(), EQUIVARIANT.watched())

    assert max(error.own for error in found[:-1]) < EXACT
    assert found[-1].own == found[-1].reaching > 0.1


def test_layer_may_be_called_twice_and_return_several_tensors():
    class Pair(nn.Module):
        def forward(self, scalars, vectors):
            return scalars + vectors.norm(dim=1), {
                "vectors": vectors * scalars[:, None] + 0.1 * UP
            }

    layer = Pair()

    def model(points):
        scalars, vectors = points.norm(dim=1), points
        for _ in range(2):
            scalars, found = layer(scalars, vectors)
            vectors = found["vectors"]
        return vectors

    (error, rest) = layer_errors(model, cloud(), {"pair": Layer(layer, (SCALAR, VECTOR))})

    assert error.own > 1e-5
    assert error.reaching == pytest.approx(local_error(model, cloud()).relative)
    assert rest.own < EXACT


def test_layer_that_is_not_part_of_the_model_is_refused():
    with pytest.raises(ValueError, match="'stray' is not called"):
        layer_errors(EQUIVARIANT, cloud(), {"stray": Layer(nn.Identity(), (VECTOR,))})


def test_missing_output_is_refused_and_no_hook_is_left():
    layers = {"layer": Layer(EQUIVARIANT.layers[0], ())}

    with pytest.raises(ValueError, match="returns 1 tensors; 0 outputs"):
        layer_errors(EQUIVARIANT, cloud(), layers)

    assert local_error(EQUIVARIANT, cloud()).relative < EXACT


def turned_last(vectors, rotation):
    """Vectors (3, v, n), the layout of the estimator, turned."""
    return torch.einsum("ij,jvn->ivn", rotation, vectors)


def estimator(network):
    def normals(points):
        return torch.from_numpy(estimate(points.numpy(), network, dtype=torch.float64).normals)

    return normals


@pytest.fixture(scope="module")
def surface():
    return torch.from_numpy(torus(80, np.random.default_rng(0))[0])


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_estimator_is_exact_by_central_differences(exact_network, surface, transform):
    found = diagnosis(estimator(exact_network), surface, transform, steps=(1e-3,))

    assert found.verdict == "exact"


def levels(network):
    outputs = (SCALAR, Output(turned_last))
    return {f"down {i}": Layer(network.down[i][0], outputs) for i in (1, 2)}


def test_layers_of_the_estimator_are_exact(exact_network, surface):
    found = layer_errors(
        estimator(exact_network), surface, levels(exact_network), output=LINE, step=1e-3
    )

    assert max(max(error.own, error.reaching) for error in found) < 1e-14


def test_lean_in_one_layer_of_the_estimator_is_found(exact_network, surface):
    def lean(module, arguments, features):
        return features._replace(vectors=features.vectors + 1e-3 * UP[:, None, None])

    network = copy.deepcopy(exact_network)
    network.down[2][0].register_forward_hook(lean)

    found = layer_errors(estimator(network), surface, levels(network), output=LINE, step=1e-3)

    assert [error.name for error in found if error.own > 1e-10] == ["down 2"]
    assert [error.name for error in found if error.reaching > 1e-12] == ["down 2"]
