"""Two processes that share a batch learn what one process learns from all of it."""

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import run_cli
from safetensors.torch import load_file
from small_training import SMALL
from test_layers import NARROW, features, layer_to, receivers
from torch import distributed
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from tfnormals import training

SCRIPT = Path(__file__).with_name("small_training.py")
STEPS, STOPPED = 8, 3
NEW = ("--size", "small", "--batch-points", 900, "--steps", STEPS, "--seed", 3, "--device", "cpu")
"""Batches of one, two and three clouds, so that shares are equal, 2 : 1 and 1 : 0."""
SAME_WEIGHTS = 1e-6
"""float32, eight steps on the same batches summed in another order; weights are of size one."""
RARE, MAGNIFIED = 1e-4, 1e-4
"""Share and size of the exceptions: where a gradient is hardly more than rounding, AdamW, which
divides by its size, makes steps of it."""
SAME_LOGS = 2e-5
"""Figures are logged with five decimals."""


def loss_of(layer, rows):
    """Of some receivers, so that the mean of two halves is that of the whole."""
    out = layer(features(), receivers().among(rows))
    return out.scalars.square().mean() + out.vectors.square().mean()


def work(rank, meeting, gradients):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    learn_half(rank, gradients)
    distributed.destroy_process_group()
    gc.collect()  # a replica is in cycles; its threads would outlive the interpreter and abort


def learn_half(rank, gradients):
    """The second process tells the gradients, the mean of those of both."""
    layer = DistributedDataParallel(layer_to(NARROW))
    loss_of(layer, slice(25 * rank, 25 * rank + 25)).backward()
    for copy, parameter in zip(gradients, layer.parameters(), strict=True):
        if rank == 1:
            copy.copy_(parameter.grad)


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path):
    alone = layer_to(NARROW)
    loss_of(alone, slice(0, 50)).backward()
    gradients = [torch.zeros_like(parameter).share_memory_() for parameter in alone.parameters()]

    spawn(work, (f"file://{tmp_path}/meeting", gradients), nprocs=2)

    for together, parameter in zip(gradients, alone.parameters(), strict=True):
        torch.testing.assert_close(together, parameter.grad, rtol=0, atol=1e-12)


def train_by_two(*arguments, **variables):
    """What becomes of ``tfnormals train`` under torchrun."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, str(SCRIPT), "train", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def rows_of(run):
    """What was logged, but for the time it took."""
    rows = [json.loads(row) for row in (run / training.METRICS).read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same_result(run, other):
    one, two = (load_file(folder / training.STATE) for folder in (run, other))
    apart = torch.cat([(one[name] - two[name]).abs().flatten() for name in one])
    assert (apart > SAME_WEIGHTS).double().mean() < RARE
    assert apart.max() < MAGNIFIED
    for row, another in zip(rows_of(run), rows_of(other), strict=True):
        assert row == pytest.approx(another, rel=0, abs=SAME_LOGS)


@pytest.fixture(scope="module")
def small_training():
    """In this process, what ``small_training.py`` is to others, and nothing to draw."""
    in_turn = lambda data, sampler, **_: (data[step] for step in sampler)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "DataLoader", in_turn)
        for setting in SMALL:
            patch.setattr(*setting)
        patch.setattr("tfnormals.training_report.training_curves", lambda run: run / "curves.png")
        yield


@pytest.fixture(scope="module")
def alone(small_training, tmp_path_factory):
    """The folder of a run of this process."""
    run = tmp_path_factory.mktemp("alone") / "run"
    assert run_cli("train", "--out", run, *NEW) == 0
    return run


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder of the same run of two processes, and what they told."""
    run = tmp_path_factory.mktemp("together") / "run"
    done = train_by_two("--out", run, *NEW)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(run=run, told=done.stderr)


@pytest.mark.slow
def test_a_run_of_two_processes_gives_the_result_of_one(alone, together):
    assert_same_result(alone, together.run)


@pytest.mark.slow
def test_of_two_processes_one_talks(together):
    assert together.told.count(f"step {STEPS}, 100.0%: validation") == 1
    assert together.told.count(f"{STEPS} steps in") == 1


@pytest.mark.slow
def test_a_run_that_two_processes_left_is_finished_by_one(alone, tmp_path, capsys):
    run = tmp_path / "run"

    left = train_by_two("--out", run, *NEW, INTERRUPTED_STEP=str(STOPPED))

    assert left.returncode != 0
    command = f"torchrun --nproc-per-node 2 -m tfnormals train --resume {run}"
    assert left.stderr.count(f"stopped at step {STOPPED}; to go on: {command}\n") == 1
    assert [row["step"] for row in rows_of(run)] == list(range(1, STOPPED + 1))
    assert not list(run.glob("*.partial"))
    assert run_cli("train", "--resume", run, "--device", "cpu") == 0
    assert_same_result(alone, run)


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are of POSIX")
def test_a_killed_run_leaves_no_process(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, str(SCRIPT), "train", *map(str, NEW[:-6]), "--out", str(run)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as trainer:
        assert soon((run / training.METRICS).exists)
        trainer.kill()

    def nobody_left():
        try:
            os.killpg(trainer.pid, 0)
        except ProcessLookupError:
            return True
        return False

    assert soon(nobody_left)


def soon(so, seconds=60):
    """Whether something becomes so in time."""
    end = time.monotonic() + seconds
    while not so() and time.monotonic() < end:
        time.sleep(0.1)
    return so()
