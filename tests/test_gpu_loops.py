"""The kernels of a GPU, run by numba's simulator, say bit for bit what the loops of a CPU say.

numba decides when it is imported whether it simulates, so this file is also a script.
"""

import os
import subprocess
import sys

import numpy as np
import torch
from helpers import torus

from tfnormals import box_search, gpu_sampling, graph, orientation, sheets
from tfnormals.graph import build_graph
from tfnormals.network import Answer
from tfnormals.orientation import Placed, settled
from tfnormals.tensorframes import gpu_loops, loops

LOOPS = {
    "_count",
    "_deny",
    "_influence",
    "_search",
    "_sum_heard",
    "carry",
    "describe",
    "measure_reach",
    "pool_gaussians",
    "sample_farthest",
    "weigh_parents",
}


def test_kernels_say_what_loops_say():
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == LOOPS


def said_of(points):
    """Whatever loops find of a cloud, as tensors."""
    found = build_graph(points)
    levels = [*found.levels, *found.overview.levels]
    told = [part for near, *rest in levels for part in (*near[:4], near.moments, *rest)]
    count, rng = len(found.order), torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng), dim=1)
    answer = Answer(normals, torch.ones(count), torch.zeros(count))
    near = found.levels[0].receivers
    sides = settled(Placed(answer, near.positions), near.neighbors)
    places = torch.from_numpy(points)[torch.from_numpy(found.order)]
    boxes = box_search.nearest_in_boxes(places, places[::2], 17)
    return [*told, *sides.answer, sides.left, boxes]


def main():
    ran = set()

    def simulated(loop, count, given, filled, _size=None):
        ran.add(loop.__name__)
        if loop is graph.sample_farthest:
            gpu_sampling.sample_in_teams(*given, *filled)
        else:
            gpu_loops.launch(loop, count, given, filled)

    points = torus(150, np.random.default_rng(0))[0]
    graph._BLOCK, graph._STEPS, gpu_sampling.TEAM = 40, 7, 8
    here = said_of(points)
    gpu_loops._shared, gpu_loops._stream = torch.Tensor.numpy, lambda _: 0
    for module in (box_search, graph, loops, orientation, sheets):
        module.over_points = simulated
    assert loops._runs_loops(torch.device("cpu"))  # the simulator's GPU
    there = said_of(points)
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))
    sys.stdout.write(" ".join(ran))


if __name__ == "__main__":
    main()
