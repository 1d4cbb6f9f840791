import copy
from dataclasses import asdict

import numpy as np
import pytest
import torch
from helpers import EXACT_DEG, one_hand_only

from tfnormals import network
from tfnormals.equivariance import (
    FAR,
    KINDS,
    Row,
    builtin_clouds,
    check,
    transforms,
    worst_of,
)
from tfnormals.errors import CloudError
from tfnormals.estimators import Found, network_estimators
from tfnormals.network import TensorFramesPointNet
from tfnormals.pretrained import DEFAULT_MODEL, load_model
from tfnormals.tensorframes import Neighborhoods, turned
from tfnormals.voting import Directions

CLOUDS = builtin_clouds()
TURNS = {"rotation", "reflection", "all"}
MIRRORS = {"reflection", "all"}
SMALL = {"cube": CLOUDS["cube"][:200]}


def random_weights(network_class=TensorFramesPointNet, config=None):
    """A network of the shipped size (or another) with random weights and a decided side."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = network_class(config).eval().requires_grad_(requires_grad=False)
    network.head[-1].weight.mul_(20)  # sides as decided as a trained network's
    return network


def rows_of(network, clouds):
    """The rows of a network on some clouds, in both precisions."""
    estimators = network_estimators(network)
    return [one.row for name, points in clouds.items() for one in check(estimators, name, points)]


def failed(rows, dtype="float64"):
    return {row.transform for row in rows if row.dtype == dtype and not row.passed}


def reframed(levels, frames_of):
    """The levels seen from other frames: ``frames_of`` a number of nodes, (3, 3, n)."""
    changed = []
    for level in levels:
        old = level.receivers
        frames = frames_of(old.frames.shape[2]).to(old.frames)
        offset = turned(turned(old.edges[:3], old.frames, back=True), frames)
        edges = torch.cat([offset, old.edges[3:]])
        seen = Neighborhoods(frames, old.neighbors, edges, old.moments)
        changed.append(level._replace(receivers=seen))
    return changed


class OneHanded(TensorFramesPointNet):
    """Right-handed frames only: the published method."""

    def forward(self, levels, on_layer=None):
        with pytest.MonkeyPatch.context() as patch:
            one_hand_only(patch)
            patch.setattr(network, "hands_averaged", lambda said, _: said[0])
            return super().forward(levels, on_layer)


class GlobalDirection(TensorFramesPointNet):
    """Leans to one direction of space, as a bias on a vector does."""

    def forward(self, levels, on_layer=None):
        found = super().forward(levels, on_layer)
        lines, doubt = found.direction
        lines = torch.nn.functional.normalize(lines + lines.new_tensor([[0], [0], [1e-3]]), dim=0)
        return found._replace(direction=Directions(lines, doubt))


class GlobalSide(TensorFramesPointNet):
    """Takes up for outside."""

    def forward(self, levels, on_layer=None):
        found = super().forward(levels, on_layer)
        return found._replace(side=found.side.new_tensor([[0], [0], [1]]).expand_as(found.side))


class GlobalConfidence(TensorFramesPointNet):
    """Right normals, but as sure as they are steep."""

    def forward(self, levels, on_layer=None):
        found = super().forward(levels, on_layer)
        lines, _ = found.direction
        return found._replace(direction=Directions(lines, lines[2].abs()))


class GlobalCoordinates(TensorFramesPointNet):
    """Reads edges that were never turned into a frame: the plain PointNet++."""

    def forward(self, levels, on_layer=None):
        identity = torch.eye(3)[..., None]
        plain = reframed(levels, lambda count: identity.expand(3, 3, count))
        return super().forward(plain, on_layer)


class RandomFrames(TensorFramesPointNet):
    """Frames drawn anew in each call."""

    def __init__(self, config=None):
        super().__init__(config)
        self.generator = np.random.default_rng(0)

    def forward(self, levels, on_layer=None):
        def draw(count):
            frames, _ = np.linalg.qr(self.generator.normal(size=(count, 3, 3)))
            return torch.from_numpy(frames.transpose(1, 2, 0).copy())

        return super().forward(reframed(levels, draw), on_layer)


class NotANumber(TensorFramesPointNet):
    """Has no answer for its first point."""

    def forward(self, levels, on_layer=None):
        found = super().forward(levels, on_layer)
        found.direction.lines[:, 0] = torch.nan
        return found


@pytest.fixture(scope="module")
def builtin_rows():
    network = random_weights()
    return {name: rows_of(network, {name: points}) for name, points in CLOUDS.items()}


def radial(alter=lambda found, points: found, points=SMALL["cube"], dtype="float64", seed=0):
    """The rows of an exact answer, away from the mean of the points, altered or not."""

    def estimator(points):
        away = points - points.mean(0)
        normals = away / np.linalg.norm(away, axis=1, keepdims=True)
        return alter(Found(normals, np.ones(len(points)), dtype, False, False), points)

    return [one.row for one in check([estimator], "cube", points, seed)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cloud", CLOUDS)
def test_network_of_shipped_size_follows_every_transform(builtin_rows, cloud, dtype):
    rows = [row for row in builtin_rows[cloud] if row.dtype == dtype]

    assert [row.transform for row in rows] == list(KINDS)
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_shipped_network_follows_every_transform(cloud):
    """What trained weights make of rounding."""
    estimators = network_estimators(load_model(DEFAULT_MODEL))[:1]
    rows = [one.row for one in check(estimators, cloud, CLOUDS[cloud])]

    assert {row.dtype for row in rows} == {"float64"}
    assert max(row.worst_deg for row in rows) < EXACT_DEG


@pytest.mark.parametrize("cloud", CLOUDS)
def test_only_the_symmetric_cloud_is_declared_ambiguous(builtin_rows, cloud):
    expected = len(CLOUDS[cloud]) if cloud == "grid" else 0

    assert {row.ambiguous for row in builtin_rows[cloud]} == {expected}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_only_planar_clouds_are_compared_up_to_sign(builtin_rows, cloud):
    expected = len(CLOUDS[cloud]) if cloud in ("plane", "grid") else 0

    assert {row.sign_free for row in builtin_rows[cloud]} == {expected}


@pytest.mark.parametrize(
    ("network_class", "exact", "median"),
    [
        (OneHanded, MIRRORS, MIRRORS),
        (GlobalDirection, TURNS, TURNS),
        (GlobalSide, TURNS, TURNS),
        (GlobalConfidence, TURNS, set()),
        (GlobalCoordinates, TURNS, TURNS),
        (RandomFrames, set(KINDS), set(KINDS)),
        (NotANumber, set(KINDS), set(KINDS)),
    ],
)
def test_broken_network_fails_where_it_is_broken(network_class, exact, median, small_network):
    rows = rows_of(random_weights(network_class, small_network.config), SMALL)

    assert failed(rows, "float64") == exact
    assert failed(rows, "float32") == median


def test_symmetry_does_not_excuse_an_answer_that_is_not_finite(small_network):
    broken = random_weights(NotANumber, small_network.config)

    assert failed(rows_of(broken, {"grid": CLOUDS["grid"]})) == set(KINDS)


def far(points):
    return bool(np.abs(points.mean(0)).max() > 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exact_answer_passes(dtype):
    assert failed(radial(dtype=dtype), dtype) == set()


def test_answer_that_depends_on_the_order_of_points_fails():
    rows = radial(lambda found, points: found._replace(normals=np.roll(found.normals, 1, 0)))

    assert failed(rows) == {"permutation", "all"}


def test_answer_that_turns_over_far_away_fails():
    rows = radial(lambda f, x: f._replace(normals=-f.normals if far(x) else f.normals))

    assert failed(rows) == {"translation", "all"}


@pytest.mark.parametrize("flag", ["ambiguous", "sign_free"])
def test_declaring_it_both_times_excuses_the_sign(flag):
    rows = radial(
        lambda f, x: f._replace(normals=-f.normals if far(x) else f.normals, **{flag: True})
    )

    assert failed(rows) == set()


@pytest.mark.parametrize("flag", ["ambiguous", "sign_free"])
def test_declaring_it_only_once_excuses_nothing(flag):
    rows = radial(
        lambda f, x: f._replace(normals=-f.normals if far(x) else f.normals, **{flag: far(x)})
    )

    assert failed(rows) == {"translation", "all"}


def test_tolerance_is_on_the_worst_point_in_float64_and_on_the_median_in_float32():
    def wobble(found, points):
        normals = found.normals.copy()
        normals[0] += 1e-4 * far(points)
        return found._replace(normals=normals)

    assert failed(radial(wobble)) == {"translation", "all"}
    assert failed(radial(wobble, dtype="float32"), "float32") == set()


def test_check_leaves_the_network_as_it_was(small_network):
    before = copy.deepcopy(small_network.state_dict())

    rows_of(small_network, SMALL)

    torch.testing.assert_close(small_network.state_dict(), before, rtol=0, atol=0)


def test_check_repeats_itself():
    assert radial() == radial()


def test_seed_chooses_the_transforms():
    assert radial() != radial(seed=1)


def test_points_that_are_not_finite_are_left_out():
    holed = np.insert(SMALL["cube"], 7, np.nan, axis=0)

    assert radial(points=holed) == radial()


def test_cloud_far_from_the_origin_passes(small_network):
    utm = SMALL["cube"] * 20 + [4.5e5, 4.5e6, 120]

    assert failed(rows_of(small_network, {"utm": utm})) == set()


def test_cloud_without_normals_is_refused(small_network):
    with pytest.raises(CloudError, match="at least 17"):
        rows_of(small_network, {"few": SMALL["cube"][:5]})


def test_cloud_without_finite_points_is_refused():
    with pytest.raises(CloudError, match="no finite points"):
        radial(points=np.full((9, 3), np.nan))


def test_random_answer_fails_the_mere_repetition():
    rng = np.random.default_rng(0)

    rows = radial(lambda f, x: f._replace(normals=f.normals + 1e-3 * rng.normal(size=x.shape)))

    assert rows[0].transform == "repetition"
    assert not rows[0].passed


def test_errors_are_told_at_the_points_they_are_at():
    """The estimator errs at row 0 of any order: at point 0, and at the one that comes first."""

    def wrong_at_row_0(points):
        away = points - points.mean(0)
        away[0] = -away[0]
        return Found(away, np.ones(len(points)), "float64", False, False)

    points = SMALL["cube"] + [5.0, 0, 0]
    measured = list(check([wrong_at_row_0], "cube", points))
    order = transforms(points, np.random.default_rng(0))["permutation"].order
    shuffled = next(one for one in measured if one.row.transform == "permutation")

    assert set(np.flatnonzero(shuffled.error_deg > 90)) == {0, order[0]}
    assert shuffled.row.share_above == 2 / len(points)
    np.testing.assert_array_equal(shuffled.points, points)
    assert worst_of(measured).row.transform in ("permutation", "all")


def test_rows_are_plain_numbers():
    types = {key: type(value) for key, value in asdict(radial()[0]).items()}

    assert types == Row.__annotations__


def test_transforms_are_what_their_names_say():
    points = SMALL["cube"]
    found = transforms(points, np.random.default_rng(0))
    size = np.linalg.norm(np.ptp(points, axis=0))

    assert tuple(found) == KINDS
    assert [round(np.linalg.det(one.matrix)) for one in found.values()] == [
        1,
        1,
        -1,
        1,
        1,
        1,
        1,
        -1,
    ]
    assert [one.scale for one in found.values()] == [1, 1, 1, 1, 1e-3, 1e3, 1, 1e3]
    assert (np.abs(found["translation"].shift) >= FAR * size / 2).all()
    assert (found["permutation"].order != np.arange(len(points))).any()


@pytest.mark.parametrize("kind", KINDS)
def test_transforms_keep_angles(kind):
    points = SMALL["cube"]
    one = transforms(points, np.random.default_rng(0))[kind]

    np.testing.assert_allclose(one.matrix @ one.matrix.T, np.eye(3), atol=1e-15)
    np.testing.assert_array_equal(np.sort(one.order), np.arange(len(points)))


def test_what_survives_a_far_translation_is_moved_without_rounding():
    far = transforms(SMALL["cube"], np.random.default_rng(0))["translation"]
    kept = far.survived(SMALL["cube"])
    moved = far.moved(SMALL["cube"])

    assert 0 < np.abs(kept - SMALL["cube"]).max() < 1e-8
    np.testing.assert_array_equal(kept, far.survived(kept))
    np.testing.assert_array_equal(moved, far.moved(kept))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_builtin_clouds_are_finite_and_always_the_same(cloud):
    points = CLOUDS[cloud]

    assert points.dtype == np.float64
    assert 500 <= len(points) <= 2000
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points, builtin_clouds()[cloud])


def test_builtin_clouds_are_as_degenerate_as_they_claim():
    faces = np.abs(CLOUDS["cube"]) == 1
    flatness = [
        np.linalg.svd(CLOUDS[name] - CLOUDS[name].mean(0))[1] for name in ("plane", "grid")
    ]

    assert faces.any(1).all()
    assert max(values[2] / values[0] for values in flatness) < 1e-14
    assert len(np.unique(CLOUDS["duplicates"], axis=0)) < 0.6 * len(CLOUDS["duplicates"])
    assert (CLOUDS["lattice"] == np.round(CLOUDS["lattice"])).all()
