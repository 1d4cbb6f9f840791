"""Trains the network of ``tfnormals.contours`` on random outlines and measures it.

    python benchmarks/train_contours.py train contour-v1.safetensors --minutes 12
    python benchmarks/train_contours.py measure

One thread suffices. Rerun with the same seed, it sees the same outlines; how many fit into the
minutes depends on the machine.
"""

import argparse
import time
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from contour_outlines import FAMILIES, Contour, outline, sampled
from safetensors.torch import load_file
from torch import Tensor

from tfnormals import estimate_normals
from tfnormals.contours import contour_graph, frameless_levels
from tfnormals.estimation import LOW_CONFIDENCE
from tfnormals.graph import LEVELS
from tfnormals.pretrained import save_tensors
from tfnormals.tensorframes.anydim import (
    AnyDimConfig,
    AnyDimLevel,
    AnyDimNeighborhoods,
    AnyDimNetwork,
    TensorAndVector,
)

CONTOURS = 4
"""Contours of a training step: one new, the others seen before; turning them would add nothing."""
Example = tuple[list[AnyDimLevel], Tensor]
"""The levels of contours and their true normals in the order of the finest."""
NOISE = (0.0, 0.003, 0.01)
"""Levels measured, relative to the diagonal."""


def main() -> None:
    """Trains or measures, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("out", type=Path)
    training.add_argument("--minutes", type=float, default=12.0)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--start", type=Path, help="Model to train on.")
    training.add_argument("--rate", type=float, default=4e-3, help="Highest learning rate.")
    measuring = commands.add_parser("measure")
    measuring.add_argument("--contours", type=int, default=30, help="Of each family.")
    given = parser.parse_args()
    if given.command == "train":
        train(given)
    else:
        measure(given.contours)


def train(given: argparse.Namespace) -> None:
    """Trains a network and writes it."""
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    rng = np.random.default_rng(given.seed)
    network = AnyDimNetwork(AnyDimConfig(LEVELS))
    if given.start:
        network.load_state_dict(load_file(given.start))
    optimizer = torch.optim.AdamW(network.parameters(), given.rate, weight_decay=0.01)
    begin, steps = time.monotonic(), 0
    pool: list[Example] = []
    mean = np.zeros(3)
    while (done := (time.monotonic() - begin) / (60 * given.minutes)) < 1:
        warm = min(1.0, (steps + 1) / 30)
        optimizer.param_groups[0]["lr"] = given.rate * warm * (1 + np.cos(np.pi * done)) / 2
        pool.append(example(rng))
        seen = rng.integers(len(pool), size=CONTOURS - 1)
        levels, normals = batch([pool[-1], *(pool[index] for index in seen)])
        sine, side, share = losses(network(levels), normals)
        optimizer.zero_grad()
        (sine + side).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
        mean += (sine.item(), side.item(), share.item())
        if steps % 25 == 0:
            sine_mean, side_mean, share_mean = mean / 25
            print(
                f"{steps} steps, {done:.0%}: sine {sine_mean:.3f}, side {side_mean:.3f}, "
                f"outward {100 * share_mean:.1f} %",
                flush=True,
            )
            mean[:] = 0
    header = {
        "format": 1,
        "name": "contour-v1",
        "config": asdict(network.config),
        "trained_with": {"seed": given.seed, "minutes": given.minutes, "steps": steps},
        "license": "MIT",
    }
    save_tensors(given.out, network.state_dict(), header)


def example(rng: np.random.Generator) -> Example:
    """A contour for training, half of them without noise."""
    noise = rng.choice([0.0, 10 ** rng.uniform(-3.3, -1.8)])
    contour = sampled(outline(rng), int(10 ** rng.uniform(2.3, 3.1)), noise, rng)
    graph = contour_graph(contour.points)
    return frameless_levels(graph, 2), torch.from_numpy(contour.normals[graph.order]).float()


def batch(examples: list[Example]) -> Example:
    """Contours one after the other."""
    levels, normals = zip(*examples, strict=True)
    return [joined(list(parts)) for parts in zip(*levels, strict=True)], torch.cat(normals)


def joined(levels: list[AnyDimLevel]) -> AnyDimLevel:
    """One level of several clouds as that of one cloud in pieces."""
    finer = [len(level.neighborhoods.neighbors[0]) for level in levels]
    coarser = [len(level.sampled) for level in levels]
    starts = list(accumulate(finer, initial=0))
    above = list(accumulate(coarser, initial=0))
    heard = [level.neighborhoods for level in levels]
    return AnyDimLevel(
        AnyDimNeighborhoods(
            torch.cat([h.neighbors + start for h, start in zip(heard, starts, strict=False)], 1),
            torch.cat([h.offsets for h in heard], 2),
            torch.cat([h.envelope for h in heard], 1),
        ),
        torch.cat([level.sampled + start for level, start in zip(levels, starts, strict=False)]),
        torch.cat([level.parents + start for level, start in zip(levels, above, strict=False)], 1),
        torch.cat([level.weights for level in levels], 1),
    )


def losses(answer: TensorAndVector, normals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean sine to the normal, loss of the side, share of sides that are right.

    The null direction of a symmetric T in 2-D is off by D when n^T T n = tr T / 2 - q cos 2 D,
    with +- q the eigenvalues of T without its trace.
    """
    tensor, side = answer
    half = tensor.diagonal(dim1=1, dim2=2).sum(1) / 2
    traceless = tensor - half[:, None, None] * torch.eye(2)
    q = (traceless.square().sum((1, 2)) / 2 + 1e-8).sqrt()
    cosine = -torch.einsum("na,nab,nb->n", normals, traceless, normals) / q
    sine = ((1 - cosine).clamp(min=0) / 2 + 1e-4).sqrt()
    logit = (side * normals).sum(1)
    wrong = torch.nn.functional.softplus(-logit)
    return sine.mean(), wrong.mean(), (logit > 0).float().mean()


def measure(count: int) -> None:
    """Prints a table by family and noise, over contours of 2 000 points each."""
    print("| family | noise | RMSE | outward | confident | of these outward |")
    print("|---" * 6 + "|")
    for family, shape in FAMILIES.items():
        for noise in NOISE:
            rng = np.random.default_rng(2**40)
            contours = [sampled(shape(rng), 2000, noise, rng) for _ in range(count)]
            print(f"| {family} | {noise:.1%} | {figures(contours)} |", flush=True)


def figures(contours: list[Contour]) -> str:
    """Cells: unoriented RMSE; share outward, confident, and outward among the confident."""
    found = [estimate_normals(contour.points) for contour in contours]
    normals, confidence = (np.concatenate(part) for part in zip(*found, strict=True))
    truth = np.concatenate([contour.normals for contour in contours])
    cosine = (normals * truth).sum(1)
    angle = np.degrees(np.arccos(np.abs(cosine).clip(max=1)))
    right, sure = cosine > 0, confidence >= LOW_CONFIDENCE
    trusted = f"{right[sure].mean():.2%}" if sure.any() else "none"
    rmse = (angle**2).mean() ** 0.5
    return f"{rmse:.1f}° | {right.mean():.2%} | {sure.mean():.1%} | {trusted}"


if __name__ == "__main__":
    main()
