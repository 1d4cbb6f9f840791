"""Sets the time of each stage beside what the machine could do at best: the floor.

    python benchmarks/floor.py [--points 100000]

The floor is one search of the neighbours, one pass of every edge's message through memory for each
layer and each round of votes, and the network's multiply-adds; at the bandwidth and the speed of
matrix products that are measured here, on the same threads.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from pykdtree.kdtree import KDTree
from speed_clouds import bumpy_torus
from torch.utils.flop_counter import FlopCounterMode

from tfnormals.cli.memory import keep_freed_memory
from tfnormals.estimation import estimate
from tfnormals.graph import NEIGHBORS, Level, build_graph
from tfnormals.network import TensorFramesPointNet, measured_levels
from tfnormals.pretrained import DEFAULT_MODEL, load_model
from tfnormals.tensorframes import EdgeLayer


def main() -> None:
    """Prints the stages and the floor."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped name or path")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    keep_freed_memory()  # as the command does
    points, network = bumpy_torus(args.points), load_model(args.model)
    levels = build_graph(points, torch.float32).levels
    with torch.no_grad():
        stages: dict[str, Callable[[], object]] = {
            "neighbour search": lambda: KDTree(points).query(points, k=NEIGHBORS + 1),
            "graph": lambda: build_graph(points, torch.float32),
            "network": lambda: network.answer(levels),
            "whole": lambda: estimate(points, network),
        }
        rounds = [
            {name: seconds(call) for name, call in stages.items()} for _ in range(args.repeats)
        ]
        taken = {name: median(times[name] for times in rounds) for name in stages}
        flops = multiply_adds(network, levels)
    bandwidth, products = _bandwidth(), _products()
    traffic = edge_bytes(network, levels) / bandwidth
    arithmetic = flops / products
    floor = taken["neighbour search"] + traffic + arithmetic
    print(f"{args.points:,} points, {torch.get_num_threads()} threads, median of {args.repeats}")
    print(f"{bandwidth / 1e9:.1f} GB/s, {products / 1e9:.0f} GFLOP/s\n")
    print(f"floor: {taken['neighbour search']:.2f} s search + {traffic:.2f} s edges", end="")
    print(f" + {arithmetic:.2f} s multiply-adds = {floor:.2f} s")
    for name in ("graph", "network", "whole"):
        print(f"{name}: {taken[name]:.2f} s")
    print(f"whole / floor: {taken['whole'] / floor:.1f}")


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
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


def _bandwidth() -> float:
    """Bytes per second of a copy between large tensors, read and written."""
    there, here = torch.zeros(2**26), torch.zeros(2**26)
    best = min(seconds(lambda: here.copy_(there)) for _ in range(5))
    return 2 * 4 * 2**26 / best


def _products() -> float:
    """Floating-point operations per second of a large matrix product in float32."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2 * 2048**3 / min(seconds(lambda: a @ b) for _ in range(5))


if __name__ == "__main__":
    main()
