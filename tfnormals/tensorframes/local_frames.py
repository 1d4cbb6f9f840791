"""Frames of nodes: fixed, random, from geometry, learned, refined.

The frame R_i of node i is an orthogonal matrix whose rows are axes, so local = R_i @ global. All
builders give right-handed frames. Those from geometry become R_i Q^T when a rotation Q moves the
cloud, and S R_i Q^T, S = diag(1, ..., 1, -1), under a reflection: handedness is never decided by
the sign of a number that is zero on flat faces. ``handedness`` treats both hands alike.

Geometry may leave a frame open, as inside a regular grid. Then the whole cloud decides, by a
continuous blend. What it leaves open too is flagged (see ``LocalFrames.defined``): nodes on an
axis of symmetry of the cloud, a line in three dimensions, a point on its own.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .gram_schmidt import LocalFrames, gram_schmidt
from .surroundings import Neighbors, cloud_of, mean, neighbors, views_from_afar

_PLANE = 0.1
"""Gap of the two smallest eigenvalues, relative to the sum of all, from which there is a plane."""
_WAVES = 6
"""Functions of the length that learned frames see."""


def identity_frames(pos: Float[Tensor, "n d"]) -> LocalFrames:
    """The coordinate axes at every node: the plain network, not equivariant."""
    axes = torch.eye(pos.shape[1], dtype=pos.dtype, device=pos.device)
    return _all_defined(axes.expand(len(pos), -1, -1))


def random_frames(
    pos: Float[Tensor, "n d"], generator: torch.Generator, batch: Int[Tensor, " n"] | None = None
) -> LocalFrames:
    """One uniformly random rotation for each cloud: rotation augmentation."""
    clouds, count = cloud_of(pos, batch)
    return _all_defined(_rotations(count, generator, pos)[clouds])


def random_node_frames(pos: Float[Tensor, "n d"], generator: torch.Generator) -> LocalFrames:
    """A uniformly random rotation for each node: what is left when frames know no geometry."""
    return _all_defined(_rotations(len(pos), generator, pos))


def cloud_frames(pos: Float[Tensor, "n d"], batch: Int[Tensor, " n"] | None = None) -> LocalFrames:
    """The PCA frame of each cloud, seen from its centre: global canonicalization.

    Not defined for symmetric clouds.
    """
    clouds, count = cloud_of(pos, batch)
    offsets = pos - mean(pos, clouds, count)[clouds]
    matrices, defined = _pca(Neighbors.at(offsets, clouds, count), [])
    return LocalFrames(matrices[clouds], defined[clouds])


def pca_frames(
    pos: Float[Tensor, "n d"],
    edge_index: Int[Tensor, "2 e"],
    batch: Int[Tensor, " n"] | None = None,
    reach: float | None = None,
) -> LocalFrames:
    """Frames whose last axis is the direction of least spread among the neighbours.

    The covariance gives that axis without a sign, two vectors in the plane across it give the
    others (DESIGN.md section 2, trap 1). Where the two smallest spreads meet, the plane is
    given up continuously, and the frame follows the vectors alone. Not defined either where the
    cloud has a mirror plane along that axis through the node; learned frames are.

    Args:
        pos: Positions, in any unit.
        edge_index: From neighbours to receivers.
        batch: Cloud of each node; all of one by default.
        reach: Distance at which a neighbour's influence ends: the radius of a radius graph. By
            default that of the farthest neighbour; then search one neighbour more than is to
            count, and frames do not jump when neighbours are exchanged.
    """
    return _pca(neighbors(pos, edge_index, reach), views_from_afar(pos, batch))


class LearnedFrames(nn.Module):
    """Frames from the vectors v_i^a = sum_j envelope(|r_ij|) w_a(s_i, s_j, |r_ij|) r_ij / |r_ij|.

    The lengths are relative to the reach, so that the unit of the positions does not matter, and
    each vector is divided by the sum of its weights.

    Source: Lippmann et al., "Beyond Canonicalization", ICLR 2025, learned local frames.

    Args:
        scalars: Number of scalars of each node.
        dimension: Of space, at least 2.
        hidden: Width of the network that gives the weights.
    """

    def __init__(self, scalars: int, dimension: int = 3, hidden: int = 32) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.Linear(2 * scalars + _WAVES, hidden), nn.SiLU(), nn.Linear(hidden, dimension - 1)
        )

    def forward(
        self,
        pos: Float[Tensor, "n d"],
        edge_index: Int[Tensor, "2 e"],
        scalars: Float[Tensor, "n s"],
        batch: Int[Tensor, " n"] | None = None,
        reach: float | None = None,
    ) -> LocalFrames:
        """The frames.

        Args:
            pos: As for ``pca_frames``, like the others.
            edge_index: From neighbours to receivers.
            scalars: Of each node; neither rotations nor reflections may change them.
            batch: Cloud of each node.
            reach: Distance at which a neighbour's influence ends.
        """
        near = neighbors(pos, edge_index, reach)
        senders, receivers = edge_index
        known = scalars.to(pos.dtype)
        seen = torch.cat([known[receivers], known[senders], near.waves(_WAVES)], 1)
        with torch.autocast(pos.device.type, enabled=False):
            learned = self.weights(seen)
        # the waves keep vectors independent of each other before training
        vectors = near.vectors(near.waves(learned.shape[1]) + learned)
        return gram_schmidt(vectors, views_from_afar(pos, batch))


class RefinedFrames(nn.Module):
    """Frames turned by a rotation that depends on features seen in them: R' = exp(A(f)) R.

    A is antisymmetric, so that no features are degenerate. It is zero before training.

    Args:
        channels: Number of local features.
        dimension: Of space, at least 2.
    """

    generators: Tensor

    def __init__(self, channels: int, dimension: int = 3) -> None:
        super().__init__()
        pairs = torch.combinations(torch.arange(dimension))
        upper = torch.zeros(len(pairs), dimension, dimension)
        upper[torch.arange(len(pairs)), pairs[:, 0], pairs[:, 1]] = 1
        self.register_buffer("generators", upper - upper.mT, persistent=False)
        self.angles = nn.Linear(channels, len(pairs))
        nn.init.zeros_(self.angles.weight)
        nn.init.zeros_(self.angles.bias)

    def forward(self, frames: LocalFrames, local: Float[Tensor, "n c"]) -> LocalFrames:
        """The refined frames, defined where the given ones are and of the same hand.

        Args:
            frames: Where the features are seen from.
            local: Features in the frames.
        """
        matrices = frames.matrices
        with torch.autocast(matrices.device.type, enabled=False):
            angles = self.angles(local.to(matrices.dtype))
            turn = (angles[:, :, None, None] * self.generators).sum(1)
            return LocalFrames(torch.matrix_exp(turn) @ matrices, frames.defined)


def _pca(near: Neighbors, standby: list[Tensor]) -> LocalFrames:
    dimension = near.directions.shape[1]
    if dimension == 1:
        return identity_frames(near.directions.new_empty(near.nodes, 1))
    across = _across_least(near.spread())

    def flat(vectors: list[Tensor]) -> list[Tensor]:
        return [(across * vector[:, None]).sum(2) for vector in vectors]

    waves = near.waves(dimension - 1)
    return gram_schmidt(flat(near.vectors(waves)), flat(standby))


def _across_least(spread: Float[Tensor, "n d d"]) -> Float[Tensor, "n d d"]:
    """1 - s P: P projects on the axis of least spread, s grows to 1 as that axis stands out.

    P = prod_j (M - l_j) / (l_0 - l_j) needs no eigenvectors: there is no sign to choose, and its
    gradients are finite also where the other eigenvalues meet.
    """
    dimension = spread.shape[1]
    unit = torch.eye(dimension, dtype=spread.dtype, device=spread.device)
    values = torch.linalg.eigvalsh(spread)
    gaps = (values[:, 1:] - values[:, :1]).clamp(min=torch.finfo(spread.dtype).eps)
    certain = (gaps[:, 0] / _PLANE).clamp(max=1)
    projector = (certain**2 * (3 - 2 * certain))[:, None, None] * unit
    with torch.autocast(spread.device.type, enabled=False):
        for j in range(dimension - 1):
            factor = values[:, j + 1, None, None] * unit - spread
            projector = projector @ (factor / gaps[:, j, None, None])
    return unit - projector


def _all_defined(matrices: Float[Tensor, "n d d"]) -> LocalFrames:
    return LocalFrames(matrices, torch.ones_like(matrices[:, 0, 0], dtype=torch.bool))


def _rotations(count: int, generator: torch.Generator, like: Tensor) -> Float[Tensor, "b d d"]:
    """Uniformly random rotations."""
    shape = (count, like.shape[1], like.shape[1])
    normal = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    q[:, -1] *= torch.linalg.det(q).sign()[:, None]
    return q.to(like)
