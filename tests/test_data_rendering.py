import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from tfnormals.data.rendering import Camera, camera_at, faces_of, render, windings
from tfnormals.data.surfaces import Surface, closed_surface

WALL = 0.1
ROOM = 1.0  # inner side of the room


def room() -> Surface:
    """A closed cubic room of four faces around each corner, no finer than it must be."""
    outside, inside = (trimesh.creation.box([side] * 3) for side in (ROOM + 2 * WALL, ROOM))
    inside.invert()
    whole = trimesh.util.concatenate([outside, inside])
    return closed_surface("room", whole.vertices, whole.faces)


def turned(seed: int) -> NDArray[np.float64]:
    """The axes of a camera that looks anywhere."""
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return axes * np.linalg.det(axes)


def inside_camera(eye: NDArray[np.float64], seed: int) -> Camera:
    surface = room()
    return camera_at(surface, faces_of(surface), eye, turned(seed), 1.0)


@pytest.mark.parametrize("seed", range(8))
def test_camera_in_a_room_sees_a_wall_in_every_pixel(seed):
    camera = inside_camera(np.zeros(3), seed)
    seen = render(camera, 30, 40)
    assert len(seen.faces) == 30 * 40


@pytest.mark.parametrize("seed", range(8))
def test_camera_in_a_room_measures_the_wall_straight_ahead(seed):
    eye = np.random.default_rng(seed).uniform(-0.3, 0.3, 3)
    camera = inside_camera(eye, seed)
    seen = render(camera, 30, 40)
    points = eye + (seen.directions * seen.ranges[:, None]) @ camera.axes
    np.testing.assert_allclose(np.abs(points).max(1), ROOM / 2, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_wall_of_a_room_is_seen_from_its_outward_side(seed):
    camera = inside_camera(np.zeros(3), seed)
    seen = render(camera, 30, 40)
    assert ((camera.normals[seen.faces] * seen.directions).sum(1) < 0).all()


def test_picture_has_the_wanted_rows_and_columns():
    seen = render(inside_camera(np.zeros(3), 0), 7, 50)
    x, y = (seen.directions[:, :2] / seen.directions[:, 2:]).T
    assert len(np.unique(y.round(9))) == 7
    assert len(np.unique(x.round(9))) == 50


@pytest.mark.parametrize("seed", range(4))
def test_windings_tell_the_wall_from_the_room(seed):
    places = np.zeros((4, 3))
    places[:, 0] = [0.0, ROOM / 2 + WALL / 2, ROOM / 2 + 2 * WALL, -ROOM / 2 - WALL / 2]
    surface = room()
    inside = windings(surface, faces_of(surface), places + 0.01, turned(seed))
    np.testing.assert_array_equal(inside, [0, 1, 0, 1])
