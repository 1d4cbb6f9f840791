"""Normals of a cloud: check it, build its graph, run the network, choose the sides."""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .contours import contour
from .errors import CloudError
from .geometry import Array, Pose, power_of_two
from .graph import MIN_POINTS, NEIGHBORS, RATIO, Graph, Level, Overview, build_graph, nearest
from .network import Answer, TensorFramesPointNet, measured_levels
from .objects import coordinates
from .orientation import (
    OVERVIEW_ROUNDS,
    OVERVIEW_WEIGHT,
    PART_WEIGHT,
    SHARED_WEIGHT,
    Placed,
    Settled,
    Whole,
    agreed,
    facing,
    informed,
    settled,
)
from .pretrained import DEFAULT_MODEL, load_model
from .storage import pieces, room
from .tensorframes import LazyNeighborhoods
from .tensorframes.loops import place_of_loops

Orient = Literal["outward", "viewpoint", "toward", "none"]
OnProgress = Callable[[int, int], None]
Points = TypeVar("Points", NDArray[np.floating], Tensor)

LOW_CONFIDENCE = 0.5
"""Confidence below which a point counts as unsure in summaries."""

MEASURED = 1 << 22
"""Points up to which a GPU keeps edges, some 500 bytes for each, instead of measuring them in
every layer; NOT measured."""
UNSURE = 0.06
"""Mean lack of certainty about the sides of a cloud from which on it is looked at from more
points; chosen on held-out meshes."""
SINE_POWER = 2.0
"""Of the expected sine of an angle, which makes it one minus the expected cosine; fitted on
held-out meshes."""


class Estimate(NamedTuple):
    """Normals of a cloud and what is known about them."""

    normals: Array
    """Unit vectors, of the shape of the points; NaN for points that are not finite."""
    confidence: Array
    """(n,) from 0, a guess, to 1, sure: the expected cosine of the angle to the true normal; 0 for
    points that are not finite."""
    ambiguous: bool
    """The cloud has an exact symmetry: a turned copy may give other normals."""
    planar: bool
    """All points lie on one plane, so that nothing tells its sides apart."""
    skipped: int
    """Points with a coordinate that is not finite."""
    unseen: int
    """Other points whose own sensor position is not finite: their side is a guess."""
    moved: bool
    """A GPU had no room for so many points, so the CPU did them."""


def estimate_normals(
    points: Points,
    *,
    model: str | TensorFramesPointNet = DEFAULT_MODEL,
    device: str = "auto",
    orient: Orient = "outward",
    viewpoint: ArrayLike | None = None,
    toward: ArrayLike | None = None,
) -> tuple[Points, Points]:
    """Unit normals of a point cloud, pointing outward, and how sure they are.

    Rotating, mirroring, moving, scaling or reordering the points does the same to the normals.

    Args:
        points: (n, 3) coordinates in any unit, a numpy array or a torch tensor; or (n, 2) of
            closed outlines. Points that are not finite, or masked, get NaN; duplicates are fine.
            Or a point cloud of Open3D, legacy or tensor, trimesh or laspy, or a mesh of trimesh:
            its vertices. None of them is changed.
        model: Shipped name, path of a model, or a loaded network. Outlines have a model of their
            own, ``contour-v1``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``. What a GPU has no room for is done on
            the CPU.
        orient: ``outward``; ``viewpoint``: towards the sensor; ``toward``: to the side of a
            direction, as of a sensor far away; ``none``: signs mean nothing.
        viewpoint: Sensor position, for ``viewpoint``; or one for each point, where those that are
            not finite leave the side a guess, of confidence 0.
        toward: For ``toward``: a vector of any length, such as (0, 0, 1) for an airborne scan.

    Returns:
        Normals, of the shape of the points, and confidence (n,), of the type, dtype and device
        of the points. An integer cloud gives float64. Objects of other libraries give numpy
        arrays in the dtype of their coordinates.

    Raises:
        CloudError: If there are too few distinct points or all lie on one line.
        ModelError: If the model is unknown or damaged.
        ValueError: If a shape is wrong, or viewpoint or direction is missing or of no use.
    """
    network = load_model(model) if isinstance(model, str) else model
    given: Points = coordinates(points)
    array = _as_array(given)
    result = estimate(
        array,
        network,
        device=pick_device(device),
        orient=orient,
        viewpoint=viewpoint,
        toward=toward,
    )
    return _like(result.normals, given), _like(result.confidence, given)


def estimate(
    points: Array,
    network: TensorFramesPointNet,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    orient: Orient = "outward",
    viewpoint: ArrayLike | None = None,
    toward: ArrayLike | None = None,
    whole: Whole | None = None,
    on_progress: OnProgress | None = None,
) -> Estimate:
    """As ``estimate_normals``, for a loaded network, with all that is known of the result.

    Args:
        points: (n, 3) coordinates, or (n, 2).
        network: The network for three dimensions; it is used in ``dtype`` on ``device``.
        dtype: float32, or float64 to check exactness.
        device: Where the network runs, if there is room; the graph is built at its
            ``place_of_loops``.
        orient: See ``estimate_normals``.
        viewpoint: See ``estimate_normals``.
        toward: See ``estimate_normals``.
        whole: Of a surface in space of which the points are a part, what ``overview`` says of it:
            outward is what is outward there.
        on_progress: Called with the number of finished and of all steps.
    """
    rows = _finite_rows(points)
    used = points[rows]
    _check_orient(orient, viewpoint, toward, points.shape)
    _check_count(used)
    unit_length = power_of_two(used)  # the squares of 1e200 and of 1e-200 are no float64
    used = np.divide(used, unit_length, out=room(used.shape, np.float64))
    moved = False
    if points.shape[1] == 2:
        outline = contour(used)
        found = _Found(
            outline.normals, outline.certainty, 1 - outline.error, outline.symmetric, planar=False
        )
    else:
        if whole is not None:
            whole = whole._replace(positions=whole.positions / unit_length)

        def surface(place: str | torch.device) -> _Found:
            return _surface(used, _placed(network, dtype, place), orient, whole, on_progress)

        found, moved = _with_room(surface, device)
    unit, sure, cosine, symmetric, planar = found
    if orient == "none":
        sure = np.ones(len(unit))
    unseen = 0
    if orient in ("viewpoint", "toward"):
        given = viewpoint if toward is None else toward
        faced = np.broadcast_to(np.asarray(given, float), points.shape)[rows]
        sight = faced / unit_length - used if toward is None else faced
        unit, sure = facing(unit, sight)
        unseen = int((~np.isfinite(sight)).any(1).sum())
    normals, confidence = room(points.shape, np.float64), room(points.shape[:1], np.float64)
    skipped = len(points) - len(used)
    if skipped:
        normals.fill(np.nan)
        confidence.fill(0)
    normals[rows], confidence[rows] = unit, np.clip(sure * cosine, 0, 1)
    return Estimate(normals, confidence, symmetric, planar, skipped, unseen, moved)


def _finite_rows(points: Array) -> "slice | NDArray[np.bool_]":
    """The rows without NaN and infinities, most often all of them."""
    finite = np.isfinite(points)
    return slice(None) if finite.all() else np.asarray(finite.all(1))


def _with_room(
    find: "Callable[[str | torch.device], _Found]", device: str | torch.device
) -> "tuple[_Found, bool]":
    """What is found on a device, or on the CPU if a GPU has no room for it; and whether so."""
    try:
        return find(device), False
    except torch.cuda.OutOfMemoryError:  # whose memory is free once this block is left
        pass
    return find("cpu"), True


class _Found(NamedTuple):
    """What is found of finite points."""

    normals: Array
    sure: Array
    """(n,) How sure the sides are, 0 to 1."""
    cosine: Array
    """(n,) Expected cosine of the angle to the true line."""
    symmetric: bool
    planar: bool


def overview(
    points: Array, network: TensorFramesPointNet, *, device: str | torch.device = "cpu"
) -> Whole:
    """What the network says of some points of a surface, for ``estimate`` of its parts.

    Args:
        points: (n, 3) finite coordinates, some ten thousand from all over it.
        network: The network.
        device: Where it runs.

    Raises:
        CloudError: If there are too few distinct points or all lie on one line.
    """
    _check_count(points)
    network = _placed(network, torch.float32, device)
    graph = _graph_for(network, points / power_of_two(points))
    with torch.no_grad():
        sides = _sided(_answered(graph.levels, network), graph, network)
    where = torch.from_numpy(points[graph.order].T)
    return Whole(sides.answer.to("cpu"), where, sides.left.cpu())


def _surface(
    points: Array,
    network: TensorFramesPointNet,
    orient: Orient,
    whole: Whole | None,
    on_progress: OnProgress | None,
) -> _Found:
    """Normals of a cloud in space; their sides mean nothing unless they are to be outward."""
    graph = _graph_for(network, points)
    planar = graph.pose.dimensions < 3 and whole is None
    with torch.no_grad():
        answer = _answered(graph.levels, network, on_progress)
        if planar or orient != "outward":
            answer = _above(answer, graph.pose) if planar else answer
            sides = Settled(answer, torch.zeros_like(answer.logit))
        elif whole is None:
            sides = _sided(answer, graph, network)
        else:
            sides = _told(answer.to("cpu"), points[graph.order].T, graph, whole)
    normals, _, error = sides.answer
    inverse = torch.from_numpy(graph.inverse).to(normals.device)
    parts = normals, sides.certainty(), error
    unit, sure, cosine = (_spread_out(part, inverse) for part in parts)
    for rows in pieces(len(points)):
        cosine[rows] = 1 - cosine[rows] ** SINE_POWER
    return _Found(unit, sure, cosine, graph.pose.symmetric, planar)


def _above(answer: Answer, pose: Pose) -> Answer:
    """The answer for a plane: all normals on one side, though nothing tells which is outside."""
    normals, up = answer.normals, torch.from_numpy(np.cross(*pose.axes[:2]))
    below = normals @ up.to(normals) < 0
    return answer._replace(normals=torch.where(below[:, None], -normals, normals))


def _spread_out(known: Tensor, inverse: Int[Tensor, " n"]) -> Array:
    """What is known of distinct points, for all points."""
    whole = room((len(inverse), *known.shape[1:]), np.float64)
    for rows in pieces(len(inverse)):
        whole[rows] = known.index_select(0, inverse[rows]).cpu().numpy()
    return whole


def _answered(
    levels: list[Level], network: TensorFramesPointNet, on_progress: OnProgress | None = None
) -> Answer:
    place = next(network.parameters()).device
    levels = [level.to(place) for level in levels]
    if place.type != "cpu" and levels[0].weights.shape[1] <= MEASURED:
        levels = measured_levels(levels)
    return network.answer(levels, on_progress)


def _told(first: Answer, positions: Array, graph: Graph, whole: Whole) -> Settled:
    """The answer of a part with the sides that a look at the whole says, agreed on by sheets.

    The whole is as loud as an overview that leaves out as many levels. Where patches of it spoke
    for opposite sides, the part must not choose another one than the whole did.
    """
    here = torch.from_numpy(positions)
    near = nearest(whole.positions.T, here.T, min(NEIGHBORS, whole.positions.shape[1]))
    density = near.shape[1] / len(near[0].unique())
    levels = max(1.0, math.log(density, RATIO))
    seen, left = Placed(whole.answer, whole.positions), whole.left[near[0]]
    said = first.logit * left * PART_WEIGHT * (levels - 1)
    own = Placed(first._replace(logit=said), here)
    heard = own._replace(answer=informed(own, seen, near, OVERVIEW_WEIGHT * levels))
    sides = settled(heard, graph.levels[0].receivers.neighbors.cpu())
    return sides._replace(left=sides.left * left)


def _sided(answer: Answer, graph: Graph, network: TensorFramesPointNet) -> Settled:
    """The answer with sides on which looks at the whole shape, and then the sheets, agree.

    A second look is enough for most clouds; where it leaves many sides unsure, as strong noise
    does, looks from other points are heard as well.
    """

    def placed(answer: Answer, level: Level) -> Placed:
        near = level.receivers
        assert isinstance(near, LazyNeighborhoods)
        return Placed(answer.to(near.positions.device), near.positions)

    first, neighbors = placed(answer, graph.levels[0]), graph.levels[0].receivers.neighbors

    def look(overview: Overview) -> tuple[Placed, Tensor]:
        finest = overview.levels[0]
        seen = placed(_answered(overview.levels, network), finest)
        heard = agreed(seen, finest.receivers.neighbors, OVERVIEW_ROUNDS)
        return seen._replace(answer=heard), overview.near

    def heard(looks: list[tuple[Placed, Tensor]], weight: float) -> Settled:
        informed_by, weight = first, weight * graph.overview.skipped
        for seen, near in looks:
            informed_by = first._replace(answer=informed(informed_by, seen, near, weight))
        return settled(informed_by, neighbors)

    looks = [look(graph.overview)]
    found = heard(looks, OVERVIEW_WEIGHT)
    if 1 - found.certainty().mean() < UNSURE:
        return found
    return heard([*looks, *map(look, graph.further())], SHARED_WEIGHT)


def _graph_for(network: TensorFramesPointNet, points: Array) -> Graph:
    """The graph of points, in the type of the network, as near to it as loops run."""
    weight = next(network.parameters())
    return build_graph(points, weight.dtype, place_of_loops(weight.device))


def _placed(
    network: TensorFramesPointNet, dtype: torch.dtype, device: str | torch.device
) -> TensorFramesPointNet:
    """The network in a type and place; a copy where it is elsewhere, the caller keeps his own."""
    weight = next(network.parameters())
    if weight.dtype == dtype and weight.device == torch.device(device):
        return network
    return deepcopy(network).to(device, dtype)


def pick_device(device: str) -> torch.device:
    """The torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.

    Raises:
        ValueError: If there is no such device here.
    """
    available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if device == "auto":
        return torch.device("cuda:0" if len(available) > 1 else "cpu")
    name = "cuda:0" if device == "cuda" else device
    if name not in available:
        raise ValueError(f"no device '{device}' here; available: auto, {', '.join(available)}")
    return torch.device(name)


def _check_orient(
    orient: Orient,
    viewpoint: ArrayLike | None,
    toward: ArrayLike | None,
    shape: tuple[int, ...],
) -> None:
    if orient not in get_args(Orient):
        raise ValueError(f"unknown orient '{orient}'; available: {', '.join(get_args(Orient))}")
    for name, value in (("viewpoint", viewpoint), ("toward", toward)):
        if value is None and name == orient:
            raise ValueError(f"orient is {name}, but there is no {name}; give one")
        if value is not None and name != orient:
            raise ValueError(
                f'{name} is of no use with orient {orient}; give orient="{name}" or leave it out'
            )
    if viewpoint is not None:
        if np.shape(viewpoint) not in (shape[1:], shape):
            raise ValueError(
                f"viewpoint has shape {np.shape(viewpoint)}; give {shape[1:]} or {shape}"
            )
        if not np.isfinite(np.asarray(viewpoint, float)).all(-1).any():
            raise ValueError("the viewpoint is not finite; give finite coordinates")
    if toward is not None:
        if np.shape(toward) != shape[1:]:
            raise ValueError(f"toward has shape {np.shape(toward)}; give {shape[1:]}")
        if not np.isfinite(np.asarray(toward, float)).all() or not np.any(toward):
            raise ValueError(f"toward is {toward}; give finite numbers that are not all zero")


def _check_count(points: Array) -> None:
    if len(points) < MIN_POINTS:
        count = f"{len(points)} usable point{'s' * (len(points) != 1)}"
        raise CloudError(f"{count}; at least {MIN_POINTS} are needed")
    if (points == points[0]).all():
        raise CloudError(f"all {len(points)} points are equal; a surface is needed")


def _as_array(points: NDArray[np.floating] | Tensor) -> Array:
    values = points.detach().cpu().double().numpy() if isinstance(points, Tensor) else points
    if np.ma.isMaskedArray(values):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    array: Array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        raise ValueError(f"points have shape {array.shape}; give (n, 3), or (n, 2) of a contour")
    return array


def _like(result: Array, points: Points) -> Points:
    if isinstance(points, Tensor):
        dtype = points.dtype if points.is_floating_point() else torch.float64
        return torch.from_numpy(result).to(points.device, dtype)
    kept = np.asarray(points).dtype
    return result.astype(kept if np.issubdtype(kept, np.floating) else np.float64)
