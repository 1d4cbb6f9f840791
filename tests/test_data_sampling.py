import numpy as np
import pytest
from numpy.typing import NDArray
from solids import box, hollow_box, sphere

from tfnormals.data import corruption, sampling
from tfnormals.data.sampling import (
    COMPLETE_WEIGHT,
    PARTIAL_WEIGHT,
    UNDECIDABLE_WEIGHT,
    Sample,
    crop,
    surface_sample,
    thinned_sample,
    training_sample,
)
from tfnormals.data.surfaces import Surface


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def box_normals(surface: Surface, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The outward normal of the side of an origin-centred box on which each point lies."""
    relative = points / surface.vertices.max(0)
    side = np.abs(relative).argmax(1)
    return np.eye(3)[side] * np.sign(relative[np.arange(len(points)), side])[:, None]


@pytest.mark.parametrize("kind", ["uniform", "gradient", "striped"])
def test_sampled_normals_are_those_of_the_box_side(kind):
    surface = box(1, 2, 3)
    if kind == "uniform":
        points, normals = surface_sample(surface, 2000, generator())
    else:
        points, normals = thinned_sample(surface, 2000, generator(), kind)
    assert points.shape == normals.shape == (2000, 3)
    np.testing.assert_allclose(normals, box_normals(surface, points), atol=1e-6)


def test_sampled_sphere_normals_point_outward():
    points, normals = surface_sample(sphere(), 2000, generator())
    outward = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.all((normals * outward).sum(1) > np.cos(np.radians(4)))  # facets turn by < 4 degrees


def test_uniform_sample_follows_area():
    surface = box(1, 1, 3)  # the two small sides have 1 / 7 of the area
    _, normals = surface_sample(surface, 20_000, generator())
    assert np.mean(np.abs(normals[:, 2]) > 0.5) == pytest.approx(1 / 7, abs=0.01)


def unevenness(ball: Surface, points: NDArray[np.float64]) -> float:
    """Relative spread of the number of points within 0.02 of the ball's vertices."""
    gaps = np.linalg.norm(ball.vertices[::10, None] - points[None], axis=2)
    counts = (gaps < 0.02).sum(1)
    return float(counts.std() / counts.mean())


@pytest.mark.parametrize("kind", ["gradient", "striped"])
def test_thinned_sample_is_denser_in_places(kind):
    ball = sphere()
    even, _ = surface_sample(ball, 20_000, generator())
    points, _ = thinned_sample(ball, 20_000, generator(), kind)
    assert unevenness(ball, points) > 2 * unevenness(ball, even)


def test_gradient_grows_along_one_direction():
    points, _ = thinned_sample(sphere(), 20_000, generator(), "gradient")
    assert np.linalg.norm(points.mean(0)) > 0.03  # an even sphere has its mean at the centre


def test_flat_faces_of_no_area_give_no_points():
    ball = sphere()
    flat = np.array([[0, 0, 1]])
    points, normals = surface_sample(
        Surface("flat", ball.vertices, np.r_[ball.faces, flat]), 1000, generator()
    )
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    assert np.isfinite(points).all()


def test_rooms_are_seen_mostly_from_inside_or_above():
    surface, rng = hollow_box(), generator(9)
    kinds = [training_sample(surface, 200, rng).kind for _ in range(200)]
    assert np.mean(["inside" in kind or "lidar" in kind for kind in kinds]) == pytest.approx(
        0.8, abs=0.1
    )
    assert np.mean(["above" in kind for kind in kinds]) == pytest.approx(0.06, abs=0.05)


def test_crop_is_the_neighborhood_of_one_point():
    points, normals = surface_sample(sphere(), 5000, generator())
    part, part_normals = crop(points, normals, 500, generator(1))
    radius = np.ptp(points, axis=0).max() / 2
    reach = np.linalg.norm(part[:, None] - part[None], axis=2).max(1).min()
    assert len(part) == len(part_normals) == 500
    assert reach < 2 * radius * np.sqrt(500 / 5000) * 1.1  # cap of a tenth of the sphere


def test_crop_keeps_both_sheets_of_a_thin_plate():
    points, normals = surface_sample(box(1, 1, 0.01), 5000, generator())
    _, part = crop(points, normals, 500, generator(1))
    assert np.mean(part[:, 2] > 0.5) == pytest.approx(0.5, abs=0.1)


def test_crop_of_a_small_cloud_is_the_cloud():
    points, normals = surface_sample(sphere(), 100, generator())
    part, _ = crop(points, normals, 100, generator(1))
    np.testing.assert_array_equal(part, points)


def test_same_seed_gives_the_same_samples():
    surface = box(1, 2, 3)
    first, second = (
        [training_sample(surface, 200, rng) for _ in range(30)]
        for rng in (generator(5), generator(5))
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.normals, other.normals)


@pytest.fixture(scope="module")
def mixture() -> list[Sample]:
    surface, rng = sphere(), generator(6)
    return [training_sample(surface, 400, rng) for _ in range(400)]


def test_training_samples_are_clouds_of_the_asked_size(mixture):
    sizes = np.array([len(sample.points) for sample in mixture])
    assert sizes.max() == 400
    assert sizes.min() >= 133
    assert np.mean(sizes == 400) > 0.75


def test_training_samples_have_outward_unit_normals(mixture):
    points = np.concatenate([sample.points for sample in mixture])
    normals = np.concatenate([sample.normals for sample in mixture])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    assert np.isfinite(points).all()
    assert np.all((points * normals).sum(1) > 0)


def test_training_mixture_has_its_shares(mixture):
    weights = np.array([sample.side_weight for sample in mixture])
    assert np.mean(weights == COMPLETE_WEIGHT) == pytest.approx(0.63 + 0.16 * 5 / 8, abs=0.08)
    assert np.mean(weights == PARTIAL_WEIGHT) == pytest.approx(0.06 + 0.16 * 3 / 8, abs=0.06)
    assert np.mean(weights == UNDECIDABLE_WEIGHT) == pytest.approx(0.16, abs=0.06)


def test_training_mixture_is_clean_noisy_rounded_and_duplicated(mixture):
    radius = 1 / (2 * np.sqrt(3))  # of a sphere whose bounding box has a unit diagonal
    spread = [np.std(np.linalg.norm(s.points, axis=1)) for s in mixture]
    repeated = [len(np.unique(s.points, axis=0)) < len(s.points) for s in mixture]
    few_values = [len(np.unique(s.points[:, 0].round(9))) < len(s.points) / 2 for s in mixture]
    assert np.mean(np.array(spread) < 0.002 * radius) > 0.1
    assert max(spread) > 0.011
    assert 0.02 < np.mean(repeated) < 0.2
    assert 0.01 < np.mean(few_values) < 0.2


SCANS = ["depth_view_sample", "inside_scan_sample", "moved_view_sample", "scan_sample"]


@pytest.mark.parametrize("part", ["crop", "eyes_above", "eyes_around", "thinned_sample", *SCANS])
def test_training_mixture_uses_every_kind(part, monkeypatch):
    calls = []
    original = getattr(sampling, part)
    monkeypatch.setattr(sampling, part, lambda *args: calls.append(part) or original(*args))
    rng = generator(7)
    for _ in range(400):
        training_sample(box(1, 2, 3), 100, rng)
    assert len(calls) >= 3


def test_shape_that_can_hardly_be_scanned_is_sampled_instead(monkeypatch):
    nothing = np.empty((0, 3))
    for scan in SCANS:
        monkeypatch.setattr(sampling, scan, lambda *_: (nothing, nothing, nothing))
    monkeypatch.setattr(corruption, "HOLES_SHARE", 0.0)
    rng = generator(8)
    assert {len(training_sample(sphere(), 100, rng).points) for _ in range(30)} == {100}
