"""Sets the time of each stage beside what the machine could do at best: the floor.

    python benchmarks/floor.py [--points 100000] [--device cuda]

The floor is one search of the neighbours, one pass of every edge's message through memory for each
layer and each round of votes, and the network's multiply-adds; at the bandwidth and the speed of
matrix products that are measured here, on the same threads or GPU. A step of training passes
messages once forward and twice backward; what share of the bandwidth that is, is told.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from speed_clouds import bumpy_torus
from torch.utils.flop_counter import FlopCounterMode

from tfnormals.cli.memory import keep_freed_memory
from tfnormals.data.batches import Batch
from tfnormals.estimation import estimate, pick_device
from tfnormals.graph import NEIGHBORS, Level, build_graph, nearest
from tfnormals.morton import morton_order
from tfnormals.network import TensorFramesPointNet, measured_levels
from tfnormals.pretrained import DEFAULT_MODEL, load_model
from tfnormals.tensorframes import EdgeLayer
from tfnormals.tensorframes.loops import place_of_loops
from tfnormals.training import POINT_LIMIT, Clouds, limit_gradients, normal_losses, on_device


def main() -> None:
    """Prints the stages and the floor."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped name or path")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    keep_freed_memory()  # as the command does
    device = pick_device(args.device)
    home = place_of_loops(device)
    points, network = bumpy_torus(args.points), load_model(args.model).to(device)
    points = points[morton_order(torch.from_numpy(points)).numpy()]
    sought = torch.from_numpy(points).to(home)
    graph = build_graph(points, torch.float32, home)
    levels = [level.to(device) for level in graph.levels]
    stages: dict[str, Callable[[], object]] = {
        "neighbour search": lambda: nearest(sought, sought, NEIGHBORS + 1),
        "graph": lambda: build_graph(points, torch.float32, home),
        "network": torch.no_grad()(lambda: network.answer(levels)),
        "whole": lambda: estimate(points, network, device=device),
        "training step": _step(network, levels),
    }
    rounds = [
        {name: seconds(call, device) for name, call in stages.items()} for _ in range(args.repeats)
    ]
    taken = {name: median(times[name] for times in rounds) for name in stages}
    with torch.no_grad():
        flops = multiply_adds(network, levels)
    bandwidth, products = _bandwidth(device), _products(device)
    traffic = edge_bytes(network, levels) / bandwidth
    arithmetic = flops / products
    floor = taken["neighbour search"] + traffic + arithmetic
    print(f"{args.points:,} points, {_name(device)}, median of {args.repeats}")
    print(f"{bandwidth / 1e9:.1f} GB/s, {products / 1e9:.0f} GFLOP/s\n")
    print(f"floor: {taken['neighbour search']:.3f} s search + {traffic:.3f} s edges", end="")
    print(f" + {arithmetic:.3f} s multiply-adds = {floor:.3f} s")
    for name in list(stages)[1:]:
        print(f"{name}: {taken[name]:.3f} s")
    print(f"whole / floor: {taken['whole'] / floor:.1f}")
    share = 3 * traffic / taken["training step"]
    print(f"training: {share:.1%} of the bandwidth, were messages all that moves")


def _step(network: TensorFramesPointNet, levels: list[Level]) -> Callable[[], None]:
    """Losses and gradients of one cloud, as in training."""
    count = len(levels[0].receivers.moments)
    batch = Batch(levels, torch.ones(count, 3) / np.sqrt(3), torch.ones(count), (count,))
    device = levels[0].weights.device
    batch, clouds = on_device(batch, device), Clouds.of_lengths(batch.lengths, device)
    trained = network.requires_grad_()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            found = trained(batch.levels)
        turns = trained.voted(found, batch.levels)
        losses = normal_losses(turns, found.side, batch.normals, batch.side_weight, clouds)
        limit_gradients(found, turns, POINT_LIMIT / count)
        losses["loss"].backward()

    return step


def _name(device: torch.device) -> str:
    if device.type == "cpu":
        return f"{torch.get_num_threads()} threads"
    return torch.cuda.get_device_name(device)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """How long a call takes, until a GPU has done it."""
    started = time.perf_counter()
    call()
    if device.type != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def multiply_adds(network: TensorFramesPointNet, levels: list[Level]) -> int:
    """Floating-point operations of the network, counted where it is made of tensor operations."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # operations on other threads are not seen
    with FlopCounterMode(display=False) as counter:
        network.answer(measured_levels(levels))
    torch.set_num_threads(threads)
    return counter.get_total_flops()


def edge_bytes(network: TensorFramesPointNet, levels: list[Level]) -> int:
    """Bytes of one message of every edge, in every layer and round of votes."""
    total = 0
    for index, level in enumerate(levels):
        edges = level.receivers.neighbors.numel()
        here = [*network.down[index].children(), *network.up[index].children()]
        total += edges * sum(_message_bytes(layer) for layer in here)
        if index < len(network.abstract):
            kept = len(level.sampled) * level.receivers.neighbors.shape[0]
            total += kept * _message_bytes(network.abstract[index])
    votes = sum(4 * one.get_parameter("weigh.weight").shape[1] for one in network.voting)
    return total + votes * levels[0].receivers.neighbors.numel()


def _message_bytes(layer: torch.nn.Module) -> int:
    if not isinstance(layer, EdgeLayer):
        raise TypeError(f"{type(layer).__name__} is no edge layer")
    return 4 * layer.sender.out_features


def _bandwidth(device: torch.device) -> float:
    """Bytes per second of a copy between large tensors, read and written."""
    there, here = (torch.zeros(2**26, device=device) for _ in range(2))
    best = min(seconds(lambda: here.copy_(there), device) for _ in range(5))
    return 2 * 4 * 2**26 / best


def _products(device: torch.device) -> float:
    """Floating-point operations per second of a large matrix product in float32."""
    a, b = (torch.randn(2048, 2048, device=device) for _ in range(2))
    return 2 * 2048**3 / min(seconds(lambda: a @ b, device) for _ in range(5))


if __name__ == "__main__":
    main()
