"""Invariants of a neighbourhood beyond its power spectrum, in three dimensions.

The moments ``A_n = sum_j g(r_j) STF_n(x_j / r_j)``, symmetric traceless tensors of order n, are
contracted to numbers along fusion trees: two tensors become one, until nothing is left to turn.
Lengths of moments alone, the power spectrum, cannot tell a ring from a pair of dipoles, nor a
neighbourhood from its mirror image (DESIGN.md section 3).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .cartesian import from_traceless, to_traceless

SHELLS = {"near": 1, "far": 5}
"""Radial channels: powers m of q = r / reach in the weight q^m (1 - q^2)^2. It is largest at
q = 0.45 and 0.75, zero with zero slope at the reach, and zero at the point itself, which has no
direction."""

POWER_NAMES = tuple(
    f"A{n}.A{n} {pair}" for n in (1, 2, 3) for pair in ("near near", "near far", "far far")
)
TREE_NAMES = ("a.A2a", "tr A2^3", "A3:(a x A2)", "det[a, A2a, A2^2a]")
INVARIANT_NAMES = POWER_NAMES + tuple(f"{tree} {shell}" for tree in TREE_NAMES for shell in SHELLS)
"""What each invariant is; a is A1. The power spectrum comes first."""
INVARIANT_PARITY: tuple[float, ...] = (1.0,) * (len(INVARIANT_NAMES) - 2) + (-1.0, -1.0)
"""Sign of each invariant in a mirror."""

ISOTROPIC = 1e-3
"""Anisotropy, at most sqrt(6), below which invariants fade out: all directions are alike."""

_PAIRS = ((0, 0), (0, 1), (1, 1))
"""Radial channels of each number of a power spectrum."""

_TREE_DEGREES = (3, 3, 3, 6)
_POWER_UNITS = tuple(math.sqrt(15 * 17 / (d * (d + 2))) for d in (3, 5, 7))
_CUBIC = 15 * 17 * 19
_TREE_UNITS = tuple(
    math.sqrt(units) for units in (_CUBIC / 10, _CUBIC / 17.5, _CUBIC / 7, _CUBIC * 12075 / 105)
)
"""One over the root mean square of each invariant for random moments of one radial channel with
|A1|^2 + |A2|^2 + |A3|^2 = 1, which are 3 + 5 + 7 numbers; 12075 = 21 * 23 * 25."""


def fusion_invariants(
    offsets: Float[Tensor, "*n k 3"], reach: Float[Tensor, "*n"]
) -> Float[Tensor, "*n 17"]:
    """Seventeen numbers that rotations leave alone, see ``INVARIANT_NAMES``.

    Each is divided by a power of the neighbourhood's anisotropy s, the length of all its moments,
    so that it grows like s, and is multiplied by its unit, so that it is about s in size, at most
    13 s. Gradients are bounded, for isotropic neighbourhoods too. The unit of length and the
    number of neighbours do not matter.

    Args:
        offsets: From a point to its neighbours; zero for the point itself. Those beyond the reach
            count for nothing, which is how to fill up neighbourhoods of fewer points.
        reach: Where neighbourhoods end, such as the distance of neighbour k + 1; positive.
    """
    first, second, third = moments(offsets, reach)
    squared = torch.cat([first, second, third], -1).square().sum((-2, -1))
    size = (squared + ISOTROPIC**2).sqrt()[..., None]
    power = [
        unit * torch.stack([(A[..., i, :] * A[..., j, :]).sum(-1) for i, j in _PAIRS], -1) / size
        for A, unit in zip((first, second, third), _POWER_UNITS, strict=True)
    ]
    trees = _trees(
        from_traceless(first, 1, 3),
        from_traceless(second, 2, 3).unflatten(-1, (3, 3)),
        from_traceless(third, 3, 3).unflatten(-1, (3, 3, 3)),
    )
    scaled = [
        unit * tree / size ** (degree - 1)
        for tree, unit, degree in zip(trees, _TREE_UNITS, _TREE_DEGREES, strict=True)
    ]
    return torch.cat([*power, *scaled], -1)


def moments(
    offsets: Float[Tensor, "*n k 3"], reach: Float[Tensor, "*n"]
) -> tuple[Float[Tensor, "*n c 3"], Float[Tensor, "*n c 5"], Float[Tensor, "*n c 7"]]:
    """Moments of order 1, 2 and 3 in each radial channel, by coordinates of ``cartesian``.

    Weights add up to one, and the tensor of a single neighbour has length one.
    """
    scaled = offsets / reach[..., None, None]
    tiny = torch.finfo(offsets.dtype).eps  # a distance with a gradient at zero
    q2 = scaled.square().sum(-1) + tiny
    q = q2.sqrt()
    unit = scaled / q[..., None]
    envelope = (1 - q2).clamp(min=0).square()
    weights = torch.stack([q**m * envelope for m in SHELLS.values()], -2)
    weights = weights / (weights.sum(-1, keepdim=True) + tiny)
    square = (unit[..., :, None] * unit[..., None, :]).flatten(-2)
    cube = (square[..., :, None] * unit[..., None, :]).flatten(-2)
    first, second, third = (weights @ torch.cat([unit, square, cube], -1)).split([3, 9, 27], -1)
    return (
        to_traceless(first, 1, 3),
        to_traceless(second, 2, 3) * math.sqrt(3 / 2),
        to_traceless(third, 3, 3) * math.sqrt(5 / 2),
    )


def _trees(
    a: Float[Tensor, "*n 3"], A2: Float[Tensor, "*n 3 3"], A3: Float[Tensor, "*n 3 3 3"]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The contractions of ``TREE_NAMES``."""
    b = (A2 @ a[..., None])[..., 0]
    c = (A2 @ b[..., None])[..., 0]
    return (
        (a * b).sum(-1),
        ((A2 @ A2) * A2).sum((-2, -1)),
        torch.einsum("...ijk,...i,...jk->...", A3, a, A2),
        (torch.linalg.cross(a, b) * c).sum(-1),
    )
