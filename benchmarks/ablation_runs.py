"""Cells of the comparison: a variant with a seed is trained on the same clouds, then tested."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ablation_clouds import POSES, Clouds, Pose, Split, cloud, joined, pose_matrix, turned
from ablation_model import VARIANTS, PointNet, Variant
from torch import nn

from tfnormals import training
from tfnormals.metrics import normal_metrics
from tfnormals.voting import Directions

BATCH = 4
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-4
WARMUP_STEPS = 50
CLIP_NORM = 1.0


class Cell(NamedTuple):
    """A run of its own."""

    variant: Variant
    seed: int


@dataclass(frozen=True)
class Setup:
    """What all cells have in common."""

    seconds: float
    """Processor time each is trained for."""
    steps: int | None = None
    """Ends and paces training by steps instead."""
    points: int = 500
    train_clouds: int = 400
    test_clouds: int = 90


class Errors(NamedTuple):
    """Means over the test clouds."""

    rmse_deg: float
    """Root mean square of the unoriented angle."""
    inward: float
    """Share (0 to 1) of normals on the wrong side."""


Row = dict[str, Any]
"""What is known of a cell, as it is stored."""


def cells(seeds: int) -> list[Cell]:
    """All of them, seed by seed, so that a run that was cut short holds every variant."""
    return [Cell(variant, seed) for seed in range(seeds) for variant in VARIANTS]


def finished(path: Path, setup: Setup) -> dict[Cell, Row]:
    """The cells of a file that were run with this setup."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {
        Cell(Variant(row["frames"], row["messages"]), row["seed"]): row
        for row in rows
        if row["setup"] == asdict(setup)
    }


def run(cell: Cell, setup: Setup) -> Row:
    """Trains and tests a cell."""
    network, steps, seconds = trained(cell, setup)
    test = _clouds("test", setup.test_clouds, setup.points)
    started = time.process_time()
    poses = {pose: errors(network, test, pose)._asdict() for pose in POSES}
    tested = time.process_time() - started
    return {
        "setup": asdict(setup),
        **asdict(cell.variant),
        "seed": cell.seed,
        "steps": steps,
        "seconds_per_step": round(seconds / steps, 4),
        "seconds_per_test_cloud": round(tested / len(POSES) / len(test), 4),
        "parameters": sum(p.numel() for p in network.parameters()),
        "poses": poses,
    }


def trained(cell: Cell, setup: Setup) -> tuple[PointNet, int, float]:
    """A network, the steps it was trained for and the processor time they took.

    All variants with one seed see the same clouds in the same order, as far as they get.
    """
    clouds = _clouds("train", setup.train_clouds, setup.points)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        network = PointNet(cell.variant)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(cell.seed)
    step, started = 0, time.process_time()
    for batch in _batches(clouds, cell.seed):
        passed = time.process_time() - started
        done = passed / setup.seconds if setup.steps is None else step / setup.steps
        if done >= 1 and step > 0:
            break
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * warm * (0.5 + 0.5 * math.cos(math.pi * done))
        loss(network, batch, generator).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
    return network.eval(), step, time.process_time() - started


def loss(network: PointNet, batch: Clouds, generator: torch.Generator) -> torch.Tensor:
    """That of ``training.normal_losses``, without votes."""
    found = network(batch, network.frames(batch, generator))
    directions = Directions(found.lines.T, found.doubt)
    sure = torch.ones_like(found.doubt)
    cloud = batch.levels[0].cloud
    members = training.Clouds(cloud, torch.bincount(cloud))
    given = [directions] * 2, found.side.T, batch.normals, sure, members
    return training.normal_losses(*given)["loss"]


def errors(network: PointNet, clouds: list[Clouds], pose: Pose) -> Errors:
    """Of clouds that were turned, one by one."""
    found = []
    for index, one in enumerate(clouds):
        moved = turned(one, pose_matrix(pose, index))
        with torch.no_grad():
            normals = network.normals(moved)
        metrics = normal_metrics(normals.double().numpy(), moved.normals.double().numpy())
        found.append((metrics.rmse_deg, 1 - metrics.outward_share))
    return Errors(*np.mean(found, 0).tolist())


@cache
def _clouds(split: Split, count: int, points: int) -> list[Clouds]:
    return [cloud(split, index, points) for index in range(count)]


def _batches(clouds: list[Clouds], seed: int) -> Iterator[Clouds]:
    """Without end; every cloud once before any comes again."""
    rng = np.random.default_rng(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < BATCH:
            waiting += rng.permutation(len(clouds)).tolist()
        chosen, waiting = waiting[:BATCH], waiting[BATCH:]
        yield joined([clouds[index] for index in chosen])
