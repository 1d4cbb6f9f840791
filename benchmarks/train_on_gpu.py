"""Trains networks together on one GPU, each step of each a CUDA graph; how outward-v8 was made.

    python benchmarks/train_on_gpu.py ../shared/meshes --out RUN --minutes 7.6 outward-v7

Every MODEL, a shipped name or a path, goes on from its weights and sees the same batches; RUN gets
NAME.safetensors, the averaged weights, and curves.jsonl. ``tfnormals train --device cuda`` does
the same for one network on any number of GPUs, but starting its thousands of operations takes
twice the time that they take (H200), so here they are recorded once and replayed. That asks for
batches of one size: they are filled up with points that are their own neighbours. The learning
rate follows time, so a run cannot be repeated bit for bit.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from math import cos, pi, prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tfnormals.data.batches import (
    DRAW_POINTS,
    Batch,
    TrainingBatches,
    drawn_sizes,
)
from tfnormals.data.sources import load_sources, split
from tfnormals.graph import (
    LEVELS,
    MOMENT_PARITY,
    NEIGHBORS,
    PARENTS,
    RATIO,
    SMALLEST_LEVEL,
    Level,
)
from tfnormals.network import measured_levels
from tfnormals.pretrained import load_model, save_model
from tfnormals.tensorframes import LazyNeighborhoods
from tfnormals.training import CLIP_NORM, POINT_LIMIT, Clouds, limit_gradients, normal_losses

POINTS = 131_072
"""Of a batch, filled up."""
MOST_CLOUDS = 160
"""In a batch, with one for the points that fill it up."""
DRAWS, LARGE_SHARE = 9, 0.28
"""Of a batch; more of one large cloud than usual, since draws that do not fit are made anew."""
AVERAGE_DECAY = 0.998
WARMUP = 0.03
"""Share of the run."""
WEIGHT_DECAY = 1e-4
SAVE_SECONDS = 45.0
LOG_EVERY = 5


class Field(NamedTuple):
    """A tensor within the bytes of a batch."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int

    @property
    def end(self) -> int:
        """Behind its last byte."""
        return self.start + prod(self.shape) * self.dtype.itemsize


def level_points() -> list[int]:
    """Points of each level, as many as any batch that fits may have."""
    spare = MOST_CLOUDS * (SMALLEST_LEVEL + 1)
    return [POINTS, *(POINTS // RATIO**level + spare for level in range(1, LEVELS))]


def layout() -> list[Field]:
    """The tensors of a batch, one behind the other."""
    real, rows, points = torch.float32, torch.int32, level_points()
    parts: list[tuple[str, tuple[int, ...], torch.dtype]] = []
    for level, n in enumerate(points):
        parts += [
            (f"frames{level}", (3, 3, n), real),
            (f"neighbors{level}", (NEIGHBORS, n), rows),
            (f"positions{level}", (3, n), torch.float64),
            (f"reach{level}", (n,), torch.float64),
            (f"moments{level}", (n, len(MOMENT_PARITY)), real),
        ]
        last = level == LEVELS - 1
        parts += [
            (f"sampled{level}", (0 if last else points[level + 1],), torch.int64),
            (f"parents{level}", (0 if last else PARENTS, n), rows),
            (f"weights{level}", (0 if last else PARENTS, n), real),
        ]
    parts += [
        ("normals", (POINTS, 3), real),
        ("side_weight", (POINTS,), real),
        ("cloud", (POINTS,), torch.int64),
        ("points", (MOST_CLOUDS,), real),
    ]
    fields, start = [], 0
    for part in parts:
        fields.append(Field(*part, start))
        start = -(-fields[-1].end // 256) * 256
    return fields


FIELDS = layout()


def views(flat: Tensor) -> dict[str, Tensor]:
    """The tensors within the bytes of a batch."""
    return {
        field.name: flat[field.start : field.end].view(field.dtype).view(field.shape)
        for field in FIELDS
    }


def padded(batch: Batch) -> Tensor:
    """The bytes of a batch, filled up with points that are their own neighbours."""
    flat = torch.zeros(FIELDS[-1].end, dtype=torch.uint8)
    own, room = views(flat), level_points()
    for level, part in enumerate(batch.levels):
        near, n = part.receivers, len(part.receivers.moments)
        assert isinstance(near, LazyNeighborhoods)
        assert near.radius == 1
        own[f"frames{level}"][..., :n] = near.frames
        own[f"frames{level}"][..., n:] = torch.eye(3)[:, :, None]
        own[f"neighbors{level}"][:, :n] = near.neighbors
        own[f"neighbors{level}"][:, n:] = torch.arange(n, room[level])
        own[f"positions{level}"][:, :n] = near.positions
        own[f"reach{level}"][:n], own[f"reach{level}"][n:] = near.reach, 1
        own[f"moments{level}"][:n] = near.moments
        if level < LEVELS - 1:
            m = len(part.sampled)
            own[f"sampled{level}"][:m] = part.sampled
            own[f"sampled{level}"][m:] = room[level] - 1
            own[f"parents{level}"][:, :n] = part.parents
            own[f"parents{level}"][:, n:] = room[level + 1] - 1
            own[f"weights{level}"][:, :n] = part.weights
            own[f"weights{level}"][:, n:] = 1 / PARENTS
    n, clouds = len(batch.normals), Clouds.of_lengths(batch.lengths)
    own["normals"][:n], own["normals"][n:, 2] = batch.normals, 1
    own["side_weight"][:n] = batch.side_weight
    own["cloud"][:n], own["cloud"][n:] = clouds.of, MOST_CLOUDS - 1
    own["points"][: len(clouds.points)] = clouds.points
    return flat


class PaddedBatches(TrainingBatches):
    """Bytes of batches, see ``padded``."""

    def __getitem__(self, step: int) -> Tensor:  # type: ignore[override]
        """The batch of a step."""
        return padded(super().__getitem__(step))

    def sizes(self, rng: np.random.Generator) -> list[int]:
        """Points of the clouds of a batch, drawn until they fit."""
        while True:
            draws = [drawn_sizes(DRAW_POINTS, rng, LARGE_SHARE) for _ in range(DRAWS)]
            sizes = [size for draw in draws for size in draw]
            if sum(sizes) <= POINTS and len(sizes) < MOST_CLOUDS:
                return sizes


def levels_of(own: Mapping[str, Tensor]) -> list[Level]:
    """The levels of a batch."""
    lazy = ("frames", "neighbors", "positions", "reach")
    levels = []
    for level in range(LEVELS):
        places = [own[f"{name}{level}"] for name in lazy]
        near = LazyNeighborhoods(*places, 1.0, own[f"moments{level}"])
        rest = [own[f"{name}{level}"] for name in ("sampled", "parents", "weights")]
        levels.append(Level(near, *rest))
    return measured_levels(levels)


class Learner:
    """A network that learns from the batch whose bytes are in one place.

    Args:
        model: Shipped name or path of the weights to go on from.
        flat: Where the bytes are.
    """

    def __init__(self, model: str, flat: Tensor) -> None:
        self.own, self.device = views(flat), flat.device
        self.network = load_model(model).to(self.device).train().requires_grad_()
        self.average = deepcopy(self.network).requires_grad_(requires_grad=False)
        self.parameters = list(self.network.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=0.0, weight_decay=WEIGHT_DECAY, fused=True
        )
        self.losses: dict[str, Tensor] = {}
        self.norm = torch.zeros(())
        self.stream, self.graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                self.optimizer.zero_grad()
                learn(self.network, self.own)
        self.stream.synchronize()
        self.optimizer.zero_grad()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.losses = learn(self.network, self.own)

    def step(self, rate: float) -> None:
        """One step, in a stream of its own."""
        with torch.cuda.stream(self.stream), torch.no_grad():
            self.graph.replay()
            self.norm = nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
            self.optimizer.param_groups[0]["lr"] = rate
            self.optimizer.step()
            means = list(self.average.parameters())
            torch._foreach_lerp_(means, self.parameters, 1 - AVERAGE_DECAY)

    def told(self) -> dict[str, float]:
        """The losses of the last step."""
        return {name: float(loss) for name, loss in self.losses.items()} | {
            "grad_norm": float(self.norm)
        }


def learn(network: nn.Module, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The losses of a batch; their gradients are added to those of the network."""
    levels, device = levels_of(own), own["normals"].device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        found = network(levels)
    clouds = Clouds(own["cloud"], own["points"])
    rounds = network.voted(found, levels)
    losses = normal_losses(rounds, found.side, own["normals"], own["side_weight"], clouds)
    limit_gradients(found, rounds, POINT_LIMIT / clouds.points.sum())
    losses["loss"].backward()
    return {name: loss.detach() for name, loss in losses.items()}


def endless(batches: TrainingBatches, workers: int) -> Iterator[Tensor]:
    """Batches from processes that are copies of this one, so before it uses the GPU."""
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(1 << 40),
        num_workers=workers,
        multiprocessing_context="fork",
        generator=torch.Generator(),
    )
    return iter(loader)


def main() -> None:
    """Trains the models and saves them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of meshes")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)  # threads are not copied with the process
    sources, _ = split(load_sources([args.data])[0])
    TrainingBatches([], DRAW_POINTS, args.seed)[0]  # compiles the loops once for all
    upcoming = endless(PaddedBatches(sources, POINTS, args.seed), args.workers)
    flat = next(upcoming).cuda()
    torch.backends.cuda.matmul.allow_tf32 = True
    learners = {Path(model).stem: Learner(model, flat) for model in args.models}
    args.out.mkdir(parents=True)
    train(learners, upcoming, flat, args)


def train(
    learners: Mapping[str, Learner],
    upcoming: Iterator[Tensor],
    flat: Tensor,
    args: argparse.Namespace,
) -> None:
    """Trains for the time given and saves now and then."""
    start = saved = time.monotonic()
    step, done = 0, 0.0
    with (args.out / "curves.jsonl").open("w") as curves:
        while done < 1:
            done = min((time.monotonic() - start) / (60 * args.minutes), 1)
            rate = args.learning_rate * min(1, done / WARMUP) * (0.5 + 0.5 * cos(pi * done))
            flat.copy_(next(upcoming))
            torch.cuda.synchronize()
            for learner in learners.values():
                learner.step(rate)
            torch.cuda.synchronize()
            step += 1
            if step % LOG_EVERY == 0:
                told = {name: learner.told() for name, learner in learners.items()}
                curves.write(json.dumps({"step": step, "done": done} | told) + "\n")
            if done == 1 or time.monotonic() - saved > SAVE_SECONDS:
                saved = time.monotonic()
                for name, learner in learners.items():
                    trained = {"step": step, "seed": args.seed}
                    weights = deepcopy(learner.average).cpu()
                    save_model(args.out / f"{name}.safetensors", weights, name, trained)
                curves.flush()
    print(f"{step} steps in {args.minutes} minutes")


if __name__ == "__main__":
    main()
