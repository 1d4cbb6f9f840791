"""An endless variety of closed solids to train on, each drawn from a seeded generator."""

import numpy as np
from manifold3d import Manifold

from ..errors import DataError
from . import procedural_bodies as bodies
from . import procedural_frames as frames
from . import procedural_lowpoly as lowpoly
from . import procedural_outdoors as outdoors
from . import procedural_rooms as rooms
from . import procedural_sheets as sheets
from . import procedural_solids as solids
from . import procedural_text as text
from . import procedural_thin as thin
from .procedural_parts import Maker, ball, log_uniform, placed, rotation, union
from .surfaces import Surface, closed_surface

FAMILIES: dict[str, tuple[Maker, ...]] = {
    "machined": (
        solids.boolean_solid,
        solids.boolean_solid,
        solids.drilled_plate,
        solids.bracket,
        solids.shaft,
        solids.staircase,
        solids.grooved_block,
    ),
    "thin": (
        thin.plate,
        thin.crossed_plates,
        thin.open_box,
        thin.vessel,
        thin.vessel,
        thin.pipe,
        thin.corrugated,
        thin.hollow_shell,
        thin.dome,
        thin.draped_sheet,
    ),
    "sheets": (
        sheets.sheet_stack,
        sheets.sheet_stack,
        sheets.sandwich_panel,
        sheets.folded_sheet,
        sheets.close_shells,
        sheets.book,
        sheets.sleeve,
    ),
    "sweep": (
        frames.cable,
        frames.cable,
        frames.hose,
        frames.spring,
        frames.knot,
        frames.ring,
        frames.chain,
        frames.wire_frame,
    ),
    "lattice": (
        frames.grid,
        frames.railing,
        frames.table,
        frames.shelf,
        frames.truss,
        frames.strut_pile,
    ),
    "scene": (
        bodies.gap_slabs,
        bodies.gap_slabs,
        bodies.scattered,
        bodies.islands,
        bodies.near_contact,
        bodies.nested,
        bodies.stacked,
    ),
    "organic": (bodies.blob, bodies.blob, bodies.bent_blob, bodies.cluster, bodies.creature),
    "lowpoly": (lowpoly.rock, lowpoly.decimated, lowpoly.box_model, lowpoly.subdivided),
    "profile": (solids.lathe_part, solids.extrusion, text.lettering, text.sign),
    "rooms": (rooms.room, rooms.flat, rooms.dolls_house, rooms.house, rooms.hall),
    "outdoors": (outdoors.terrain, outdoors.village, outdoors.street),
}
# plain solids are learnt quickly; thin, branching and separate ones need more practice, and rooms
# most: a corner of one, seen from inside, looks like that of a box from outside
WEIGHTS = {
    "machined": 0.09,
    "thin": 0.114,
    "sheets": 0.073,
    "sweep": 0.073,
    "lattice": 0.065,
    "scene": 0.073,
    "organic": 0.065,
    "lowpoly": 0.041,
    "profile": 0.057,
    "rooms": 0.3,
    "outdoors": 0.049,
}
COMBINED_SHARE = 0.08  # surfaces put together from two families
STRETCHED_SHARE = 0.25  # surfaces stretched along the axes
MAX_FACES = 30_000
ATTEMPTS = 50


def procedural_surface(rng: np.random.Generator) -> Surface:
    """A random closed solid of unit bounding-box diagonal, named ``family/shape``.

    The same generator state gives the same arrays. Shapes that turn out degenerate are drawn
    again; a plain ball stands in should that fail fifty times.
    """
    for _ in range(ATTEMPTS):
        try:
            name, solid = _random_solid(rng)
            return surface_of(name, solid).scaled()
        except DataError:
            continue  # about one draw in fifty closes on itself or is too fine
    return surface_of("organic/ball", ball(0.5)).scaled()


def surface_of(name: str, solid: Manifold) -> Surface:
    """The boundary of a solid.

    Raises:
        DataError: If the solid is empty or its boundary has too many faces or touches itself.
    """
    mesh = solid.to_mesh64()
    faces = np.asarray(mesh.tri_verts).astype(np.int64)
    if len(faces) > MAX_FACES:
        raise DataError(f"{name}: {len(faces)} faces; at most {MAX_FACES} are wanted")
    return closed_surface(name, np.asarray(mesh.vert_properties)[:, :3], faces)


def _random_solid(rng: np.random.Generator) -> tuple[str, Manifold]:
    """A named solid of one family, or of two put together, perhaps stretched."""
    name, solid = _member(rng)
    if rng.random() < COMBINED_SHARE:
        other, second = _member(rng)
        name = f"{name}+{other}"
        solid = union([_unit(solid), placed(_unit(second), rotation(rng), rng.normal(size=3) / 3)])
    if rng.random() < STRETCHED_SHARE:
        solid = solid.scale((1.0, log_uniform(rng, 0.5, 2), log_uniform(rng, 0.5, 2)))
    return name, solid


def _member(rng: np.random.Generator) -> tuple[str, Manifold]:
    """A shape of a randomly chosen family."""
    family = str(rng.choice(list(WEIGHTS), p=list(WEIGHTS.values())))
    makers = FAMILIES[family]
    maker = makers[int(rng.integers(len(makers)))]
    return f"{family}/{maker.__name__}", maker(rng)


def _unit(solid: Manifold) -> Manifold:
    """The solid scaled to unit bounding-box diagonal around the origin."""
    box = np.array(solid.bounding_box()).reshape(2, 3)
    scale = 1 / max(float(np.linalg.norm(box[1] - box[0])), 1e-9)
    return placed(solid, scale * np.eye(3), -scale * box.mean(axis=0))
