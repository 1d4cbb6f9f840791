"""Two processes that share a batch learn what one process learns from all of it."""

import pytest
import torch
from test_layers import NARROW, features, layer_to, receivers
from torch import distributed
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel


def loss_of(layer, rows):
    """Of some receivers, so that the mean of two halves is that of the whole."""
    out = layer(features(), receivers().among(rows))
    return out.scalars.square().mean() + out.vectors.square().mean()


def work(rank, meeting, gradients):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    layer = DistributedDataParallel(layer_to(NARROW))
    loss_of(layer, slice(25 * rank, 25 * rank + 25)).backward()
    for copy, parameter in zip(gradients, layer.parameters(), strict=True):
        if rank == 1:
            copy.copy_(parameter.grad)
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path):
    alone = layer_to(NARROW)
    loss_of(alone, slice(0, 50)).backward()
    gradients = [torch.zeros_like(parameter).share_memory_() for parameter in alone.parameters()]

    spawn(work, (f"file://{tmp_path}/meeting", gradients), nprocs=2)

    for together, parameter in zip(gradients, alone.parameters(), strict=True):
        torch.testing.assert_close(together, parameter.grad, rtol=0, atol=1e-12)
