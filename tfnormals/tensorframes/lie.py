"""Local equivariance error: the Lie derivative of a model.

Move the points by a step h along a motion g_h = exp(h A), and turn the answer back:
``F(h) = rho(g_h)^-1 f(g_h X)`` stands still exactly where f is equivariant. Its derivative at
h = 0 is the Lie derivative ``J_f(X)[A X] - drho(A) f(X)``, taken here in forward mode or, for what
has no derivative, as a central difference over finite motions.

A derivative is blind to jumps: it certifies frames whose handedness is rounding noise
(DESIGN.md section 2, trap 3). So ask ``diagnosis`` too, and check finite transforms.

Source: Gruver et al., "The Lie Derivative for Measuring Learned Equivariance", ICLR 2023, eq. 3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map

Model = Callable[[Tensor], Tensor]
"""From points (n, d) to an answer whose rows are points, or one row for all of them."""
Transform = Literal["rotation", "translation", "scale"]
Verdict = Literal["exact", "smooth", "jump"]
T = TypeVar("T")

ROUNDING = 1e-9
"""Change of an answer, relative to its size, that float64 explains."""
STEPS = (1e-2, 1e-3, 1e-4, 1e-5)
"""Radians, sizes of the cloud, or logarithms of scale."""
JUMPING = 0.5
"""Growth from which an error counts as a jump: 0 is smooth, 1 are jumps all over space, of which
a smaller step meets fewer, and 2 is a jump at the very points."""


class Motion(NamedTuple):
    """Moves points by x -> scale * rotation @ x + shift."""

    rotation: Float[Tensor, "d d"]
    scale: Float[Tensor, ""]
    shift: Float[Tensor, " d"]

    def points(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The moved points."""
        return self.scale * (points @ self.rotation.mT) + self.shift


class Generator(NamedTuple):
    """A direction in which to move points."""

    rotation: Float[Tensor, "d d"]
    """Antisymmetric A with -1/2 tr A^2 = 1, or zero."""
    scale: float
    shift: Float[Tensor, " d"]

    def motion(self, h: Float[Tensor, ""]) -> Motion:
        """The motion by a step h."""
        rotation = torch.linalg.matrix_exp(h * self.rotation)
        return Motion(rotation, torch.exp(h * self.scale), h * self.shift)


@dataclass(frozen=True)
class Output:
    """What an answer is, which says how it follows its points. No answer follows translations.

    Attributes:
        turn: Applies a rotation (d, d) to answers, such as ``Reps("8x0n+4x1n").transform``.
        degree: Power of the scale with which answers grow: 0 for normals, 1 for offsets.
        sign_free: The answers are vectors of which only the line matters, not length or sign.
    """

    turn: Callable[[Tensor, Tensor], Tensor]
    degree: float = 0.0
    sign_free: bool = False

    def moved(self, answer: Tensor, motion: Motion) -> Tensor:
        """What the answer should become when its points move."""
        return self.turn(answer, motion.rotation.to(answer)) * motion.scale**self.degree

    def moved_back(self, answer: Tensor, motion: Motion, still: Tensor) -> Tensor:
        """An answer to moved points, comparable with the answer ``still`` to the points."""
        back = self.turn(answer, motion.rotation.mT.to(answer)) / motion.scale**self.degree
        return self.comparable(back, still)

    def comparable(self, answer: Tensor, still: Tensor) -> Tensor:
        """The answer; of a line, the unit vector along it on the side of ``still``."""
        if not self.sign_free:
            return answer
        unit = nn.functional.normalize(answer, dim=-1, eps=torch.finfo(answer.dtype).tiny)
        return torch.where((answer * still).sum(-1, keepdim=True) < 0, -unit, unit)


def _same(answer: Tensor, _: Tensor) -> Tensor:
    return answer


def _turned(answer: Tensor, rotation: Tensor) -> Tensor:
    return answer @ rotation.mT


SCALAR = Output(_same)
VECTOR = Output(_turned)
"""Vectors (..., d) in the last axis."""
LINE = Output(_turned, sign_free=True)
"""Directions without sign, such as unoriented normals; errors are in radians per radian."""


class LocalError(NamedTuple):
    """Local equivariance error: mean over generators of |Lie derivative|^2 / mean |answer|^2."""

    relative: float
    """A constant vector field has 2/d under rotations, an equivariant model 0."""
    rows: Float[Tensor, " n"]
    """For each row of the answer; ``relative`` is their mean."""


class Diagnosis(NamedTuple):
    """How central differences change with their step h."""

    errors: tuple[LocalError, ...]
    """One for each step."""
    growth: float
    """Exponent p of the error ~ 1/h^p over the steps that change the answer; 0 if fewer than 2."""
    verdict: Verdict
    """``exact``: nothing changes above rounding; ``jump``: there is a discontinuity; ``smooth``:
    there is an error, and it has a derivative."""


def generators(transform: Transform, points: Float[Tensor, "n d"]) -> list[Generator]:
    """Directions in which the points can move.

    Rotations and scalings leave the origin where it is. Translations are measured in sizes of the
    cloud, the root mean square distance of its points from their mean.

    Raises:
        ValueError: For rotations of a line.
    """
    d = points.shape[1]
    still, stay = points.new_zeros(d, d), points.new_zeros(d)
    if transform == "scale":
        return [Generator(still, 1.0, stay)]
    if transform == "translation":
        size = (points - points.mean(0)).square().sum(1).mean().sqrt()
        return [Generator(still, 0.0, shift) for shift in size * torch.eye(d).to(points)]
    if d < 2:
        raise ValueError("points on a line cannot rotate; give two dimensions or more")
    turns = []
    for i, j in combinations(range(d), 2):
        rotation = still.clone()
        rotation[i, j], rotation[j, i] = -1.0, 1.0
        turns.append(Generator(rotation, 0.0, stay))
    return turns


def local_error(
    model: Model,
    points: Float[Tensor, "n d"],
    transform: Transform = "rotation",
    output: Output = VECTOR,
    step: float | None = None,
) -> LocalError:
    """How far a model is from following infinitesimal motions of its points.

    Args:
        model: Any callable. In forward mode it computes with torch, and finds neighbours on
            ``points.detach()``: that cuts the derivative, which ``no_grad`` does not, and
            ``torch.cdist`` has no forward-mode rule. With a step it may do anything.
        points: The cloud, preferably in float64 and with its mean at the origin.
        transform: Which motions.
        output: What the model answers.
        step: None for the forward-mode derivative, else h of a central difference.
    """
    still = model(points).detach()

    def path(motion: Motion) -> Tensor:
        return output.moved_back(model(motion.points(points)), motion, still)

    slopes = torch.stack([slope(path, g, step) for g in generators(transform, points)])
    rows = slopes.square().mean(0).reshape(len(still), -1).sum(1)
    size = output.comparable(still, still).square().sum() / len(still)
    rows = rows / size if rows.any() else rows  # an answer of zeros may stay so
    return LocalError(float(rows.mean()), rows)


def slope(path: Callable[[Motion], T], generator: Generator, step: float | None) -> T:
    """Derivative, at rest, of tensors (any tree of them) that depend on a motion.

    Args:
        path: From a motion to the tensors.
        generator: Direction of the motion.
        step: See ``local_error``.
    """
    rest = generator.shift.new_zeros(())
    if step is None:
        moving = (lambda h: path(generator.motion(h)), (rest,), (torch.ones_like(rest),))
        return tree_map(Tensor.detach, torch.func.jvp(*moving)[1])
    ahead, behind = (path(generator.motion(rest + h)) for h in (step, -step))
    return tree_map(lambda a, b: (a - b).detach() / (2 * step), ahead, behind)


def diagnosis(
    model: Model,
    points: Float[Tensor, "n d"],
    transform: Transform = "rotation",
    output: Output = VECTOR,
    steps: tuple[float, ...] = STEPS,
    rounding: float = ROUNDING,
) -> Diagnosis:
    """Tells a smooth error from a jump: where the answer jumps, the error grows as 1/h^2.

    Args:
        model: Any callable; it needs no derivative.
        points: See ``local_error``.
        transform: See ``local_error``.
        output: See ``local_error``.
        steps: Of the central differences.
        rounding: Change of the answer, relative to its size, that counts as none.
    """
    errors = tuple(local_error(model, points, transform, output, step) for step in steps)
    relative = np.array([error.relative for error in errors])
    changed = ~(np.sqrt(relative) * steps <= rounding)  # NaN is a change
    if not changed.any():
        return Diagnosis(errors, 0.0, "exact")
    growth = 0.0
    if changed.sum() > 1:
        growth = -float(np.polyfit(np.log(steps)[changed], np.log(relative[changed]), 1)[0])
    return Diagnosis(errors, growth, "smooth" if growth < JUMPING else "jump")
