"""Training batches: clouds with their truth and their graphs, a function of seed and step."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..graph import MIN_POINTS, OVERVIEW, RATIO, Level, build_graph, farthest_points
from ..tensorframes import LazyNeighborhoods
from ..tensorframes.layers import Receivers
from .procedural import procedural_surface
from .rendering import Floats
from .sampling import Sample, labelled_sample, training_sample
from .sources import Source
from .surfaces import Surface

CLOUD_POINTS = (500, 10_000, 100_000)
"""Smallest cloud seen in training, the smallest that counts as large, and the largest."""
DRAW_POINTS = 8192
"""Points, about, for which a size is drawn; larger batches are made of several such draws."""
LARGE_SHARE = 0.22
"""Share of draws of one large cloud: only there does noise reach several times the spacing of
the points, as it does in scans. With it a draw has 12 000 points in the mean, 5 % have more than
32 000."""
PROCEDURAL_SHARE = 0.55
"""Share of procedural clouds when there are other sources too."""
THINNED_SHARE = 0.25
"""Share of clouds, up to the size of an overview, that are the farthest points of a denser one, as
an overview is: evenly spaced, and noisier than the cloud, since outliers are far from others."""


class Batch(NamedTuple):
    """Clouds one after the other, as one graph."""

    levels: list[Level]
    normals: Tensor
    """(n, 3) true outward normals, in the order of the finest level."""
    side_weight: Tensor
    """(n,) how much the side of a point counts."""
    lengths: tuple[int, ...]
    """Number of points of each cloud."""
    share: float = 1.0
    """Of the points of the whole batch, when several processes split it."""


class TrainingBatches(Dataset[Batch]):
    """Batch number ``step`` of an endless, seeded sequence.

    Args:
        sources: 45 % of the clouds are sampled from them, the rest, or all when there are none,
            from procedural solids. Those named ``KIND__NAME`` are balanced, see ``kind_shares``.
        points: Points of a batch, about: of each draw one large cloud or several small ones.
        seed: With the step, the only source of randomness.
        part: Which of the ``parts`` is wanted of every batch: all its clouds are sampled, in the
            same order as ever, and every ``parts``-th is kept. A part that is left without
            clouds repeats the first, with a share of 0.
        parts: Into how many a batch is split.
    """

    def __init__(
        self, sources: Sequence[Source], points: int, seed: int, part: int = 0, parts: int = 1
    ) -> None:
        self.sources, self.points, self.seed = sources, points, seed
        self.part, self.parts = part, parts
        self.shares = kind_shares([source.name for source in sources])

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        samples = [sample for _, sample in self._samples(rng)]
        own = samples[self.part :: self.parts]
        batch = joined([_graphed(sample) for sample in own or samples[:1]])
        if self.parts > 1:
            nodes = [_distinct(sample) for sample in samples]
            batch = batch._replace(share=sum(nodes[self.part :: self.parts]) / sum(nodes))
        return batch

    def samples(self, step: int) -> list[tuple[str, Sample]]:
        """The clouds of a batch before they become a graph, with the names of their sources."""
        return list(self._samples(np.random.default_rng([self.seed, step])))

    def _samples(self, rng: np.random.Generator) -> Iterator[tuple[str, Sample]]:
        for size in self.sizes(rng):
            source = self._source(rng)
            yield source.name, _usable_sample(source, size, rng, THINNED_SHARE)

    def sizes(self, rng: np.random.Generator) -> list[int]:
        """Points of the clouds of a batch."""
        draws = max(1, round(self.points / DRAW_POINTS))
        return [size for _ in range(draws) for size in drawn_sizes(self.points // draws, rng)]

    def _source(self, rng: np.random.Generator) -> Source:
        if not self.sources or rng.random() < PROCEDURAL_SHARE:
            return procedural_surface(rng)
        return self.sources[int(rng.choice(len(self.sources), p=self.shares))].scaled()


def kind_shares(names: Sequence[str]) -> Floats:
    """Share of each source in training, (n,): a kind of n sources weighs the square root of n.

    Otherwise hundreds of machined blocks would drown a few dozen bodies.

    Args:
        names: ``KIND__NAME``, as collections of meshes are often named; others are one kind.
    """
    kinds = [name.rpartition("/")[2].partition("__") for name in names]
    labels = [kind if mark else "" for kind, mark, _ in kinds]
    counts = Counter(labels)
    weights = np.array([counts[label] ** -0.5 for label in labels])
    return weights / weights.sum()


def _sample(source: Source, size: int, rng: np.random.Generator) -> Sample:
    if isinstance(source, Surface):
        return training_sample(source, size, rng)
    return labelled_sample(source.points, source.normals, size, rng)


def _thinned(source: Source, size: int, rng: np.random.Generator) -> Sample:
    """The farthest points of a cloud that is denser by one level."""
    dense = _sample(source, RATIO * size, rng)
    kept = farthest_points(dense.points)
    kind = f"{dense.kind}, farthest points of {len(dense.points)}"
    return dense._replace(points=dense.points[kept], normals=dense.normals[kept], kind=kind)


def drawn_sizes(
    points: int, rng: np.random.Generator, large_share: float = LARGE_SHARE
) -> list[int]:
    """Points of a large cloud, or of several small ones that together have about so many.

    Each octave of sizes costs the same in all.
    """
    smallest, large, largest = CLOUD_POINTS
    if rng.random() < large_share:
        return [int(1 / rng.uniform(1 / largest, 1 / large))]
    size = int(np.exp(rng.uniform(np.log(smallest), np.log(large))))
    return [size] * max(1, round(points / size))


def _usable_sample(
    source: Source, size: int, rng: np.random.Generator, thinned: float = 0.0
) -> Sample:
    """A cloud with enough distinct points.

    Args:
        source: What is sampled.
        size: Number of points, about.
        rng: Source of all randomness.
        thinned: Probability of the farthest points of a denser cloud.
    """
    while True:
        thin = thinned > 0 and size <= OVERVIEW and rng.random() < thinned
        sample = (_thinned if thin else _sample)(source, size, rng)
        if _distinct(sample) >= MIN_POINTS:
            return sample


def _distinct(sample: Sample) -> int:
    """Nodes of the graph: points at the same place share one."""
    return len(np.unique(sample.points, axis=0))


def _graphed(sample: Sample) -> Batch:
    """A cloud with its graph, as a batch of its own."""
    graph = build_graph(sample.points, torch.float32)
    normals = torch.from_numpy(sample.normals[graph.order]).float()
    weight = torch.full((len(normals),), sample.side_weight)
    return Batch(graph.levels, normals, weight, (len(normals),))


def validation_clouds(sources: Sequence[Source], count: int, size: int) -> list[Batch]:
    """Clouds of held-out sources and of procedural solids in turn, the same in every run."""
    rng = np.random.default_rng([2**31, 0])
    pool: list[Source] = [procedural_surface(rng) for _ in range(count)]
    for index, source in enumerate(sources[: (count + 1) // 2]):
        pool[2 * index] = source.scaled()
    return [_graphed(_usable_sample(source, size, rng)) for source in pool]


def joined(clouds: Sequence[Batch]) -> Batch:
    """Several clouds as one graph: rows of each are shifted past those of the ones before."""
    levels = []
    for index in range(len(clouds[0].levels)):
        parts = [cloud.levels[index] for cloud in clouds]
        own = _starts([len(part.receivers.moments) for part in parts])
        coarser = _starts([len(part.sampled) for part in parts])
        near = [_in_own_unit(part.receivers) for part in parts]
        receivers = LazyNeighborhoods(
            torch.cat([one.frames for one in near], 2),
            torch.cat([one.neighbors + at for one, at in zip(near, own, strict=True)], 1),
            torch.cat([one.positions for one in near], 1),
            torch.cat([one.reach for one in near]),
            1.0,
            torch.cat([one.moments for one in near]),
        )
        levels.append(
            Level(
                receivers,
                torch.cat([part.sampled + at for part, at in zip(parts, own, strict=True)]),
                torch.cat([part.parents + at for part, at in zip(parts, coarser, strict=True)], 1),
                torch.cat([part.weights for part in parts], 1),
            )
        )
    return Batch(
        levels,
        torch.cat([cloud.normals for cloud in clouds]),
        torch.cat([cloud.side_weight for cloud in clouds]),
        tuple(length for cloud in clouds for length in cloud.lengths),
    )


def _in_own_unit(near: Receivers) -> LazyNeighborhoods:
    """The same, measured in its unit of length, which differs between clouds."""
    assert isinstance(near, LazyNeighborhoods)
    return near._replace(
        positions=near.positions / near.radius, reach=near.reach / near.radius**2, radius=1.0
    )


def _starts(lengths: list[int]) -> list[int]:
    return [0, *np.cumsum(lengths[:-1]).tolist()]
