"""What the pictures of clouds show."""

import numpy as np
import pytest

from tfnormals.errors import CloudError
from tfnormals.splatting import cloud_image, painted_images

SIDE = 80
"""Width of the pictures in pixels; of a ball, their height too."""
FRONT = (0.0, 0.0)
"""From the x axis: y is right, z is up."""


def ball(count=1500):
    """Points of the unit sphere, which are their own outward normals."""
    points = np.random.default_rng(0).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def image_of(points, normals, **options):
    return cloud_image(points, normals, width=SIDE, **{"view": FRONT} | options).astype(float)


def red(image):
    """Where a picture of stone is the red of inward normals."""
    return image[..., 0] > 2 * image[..., 1:].max(axis=2)


def middle(image):
    return image[3 * SIDE // 8 : 5 * SIDE // 8, 3 * SIDE // 8 : 5 * SIDE // 8]


def inner(image):
    """The pixels well within the outline of a ball."""
    y, x = np.indices(image.shape[:2]) - (np.array(image.shape[:2]) - 1)[:, None, None] / 2
    return image[np.hypot(x, y) < 0.25 * SIDE]


def sheet(color, depth):
    """A square at right angles to the x axis, with its normals and colours."""
    grid = np.linspace(-1, 1, 30)
    points = np.stack(np.meshgrid(depth, grid, grid), axis=-1).reshape(-1, 3)
    return points, np.tile([1.0, 0, 0], (len(points), 1)), np.full(points.shape, color, np.uint8)


def test_outward_normals_show_no_red_and_inward_ones_nothing_else():
    assert not red(middle(image_of(ball(), ball()))).any()
    assert red(middle(image_of(ball(), -ball()))).all()


def test_only_the_flipped_half_is_red():
    right = ball()[:, 1:2] > 0

    image = middle(image_of(ball(), np.where(right, -ball(), ball())))

    assert not red(image[:, :8]).any()
    assert red(image[:, -8:]).all()


def test_a_surface_has_no_holes_and_the_background_is_white():
    image = image_of(ball(), ball())

    assert (inner(image).max(axis=1) < 250).all()
    assert (image[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()


def test_light_comes_from_above_on_the_left():
    image = middle(image_of(ball(), ball()))

    assert image[:6, :6].mean() > image[-6:, -6:].mean() + 20


def test_the_nearer_surface_hides_the_other():
    pairs = zip(sheet([0, 200, 0], depth=0.0), sheet([0, 0, 200], depth=1.0), strict=True)
    points, normals, colors = (np.concatenate(pair) for pair in pairs)

    image = middle(image_of(points, normals, colors=colors))

    assert image[..., 2].min() > 100
    assert image[..., :2].max() == 0


@pytest.mark.parametrize(
    ("view", "axis"),
    [((0, 0), [1, 0, 0]), ((90, 0), [0, 1, 0]), ((-90, 0), [0, -1, 0]), ((30, 90), [0, 0, 1])],
)
def test_the_eye_is_where_the_view_says(view, axis):
    towards = ball() @ np.array(axis, float) > 0
    colors = np.where(towards[:, None], [0, 200, 0], [0, 0, 200]).astype(np.uint8)

    image = middle(image_of(ball(), ball(), colors=colors, view=view))

    assert image[..., 1].min() > 60
    assert image[..., 2].max() == 0


def test_up_is_up_and_right_is_right():
    y, z = ball()[:, 1] > 0, ball()[:, 2] > 0
    colors = np.column_stack([z, z & y, ~z]).astype(np.uint8) * 200

    image = middle(image_of(ball(), ball(), colors=colors))

    assert image[2, 2].argmin() == 1  # up on the left only red
    assert image[2, -3, 1] > 60  # up on the right red and green
    assert image[-3, 2].argmax() == 2


def test_unit_origin_and_order_do_not_matter():
    order = np.random.default_rng(1).permutation(1500)

    image, moved = image_of(ball(), ball()), image_of(1e3 * ball()[order] + 5e5, ball()[order])

    assert image.shape == moved.shape
    assert np.abs(image - moved).mean() < 0.5


def test_points_without_a_normal_and_repeated_points_are_left_out():
    points, normals = np.concatenate([ball(), ball(), [[9, 9, 9]]]), np.concatenate([ball()] * 2)

    image = image_of(points, np.concatenate([normals, [[np.nan] * 3]]))

    assert np.array_equal(image, image_of(ball(), ball()))


@pytest.mark.parametrize(("stretch", "size"), [([1, 1, 4], (40, 19)), ([1, 4, 1], (26, SIDE))])
def test_an_image_fits_its_box(stretch, size):
    image = image_of(ball() * stretch, ball(), height=40)

    assert image.shape[:2] == pytest.approx(size, abs=4)
    assert max(image.shape[0] - 40, image.shape[1] - SIDE) <= 0


def test_few_points_are_large_discs():
    image = image_of(ball(20), ball(20))

    assert (image < 250).any(axis=2).mean() > 0.3


def test_points_far_from_all_others_are_drawn_where_they_are():
    strays = np.array([[0, 30.0, 0], [0, -30, 0], [0, 0, 30], [0, 0, -30]])
    points, normals = np.vstack([ball(), strays]), np.vstack([ball(), np.ones((4, 3)) / 3**0.5])

    image = image_of(points, normals)

    shown = (image < 250).any(axis=2)
    assert all(edge.any() for edge in (shown[:9], shown[-9:], shown[:, :9], shown[:, -9:]))


def test_paint_has_no_light_and_every_coloring_an_image():
    paint = [np.full((1500, 3), color, np.uint8) for color in ([200, 0, 0], [0, 90, 180])]

    first, second = painted_images(ball(), -ball(), paint, view=FRONT, width=SIDE)

    assert (middle(first) == [200, 0, 0]).all(axis=2).mean() > 0.8
    assert (middle(second) == [0, 90, 180]).all(axis=2).mean() > 0.8


def test_too_few_points_are_refused():
    with pytest.raises(CloudError, match=r"^5 points with a normal; a picture needs 9"):
        cloud_image(ball(5), ball(5))
