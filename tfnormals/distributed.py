"""Processes that learn together: each from its part of a batch, all of them the same weights."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


class Team(NamedTuple):
    """The processes of a run and which of them this is; of more than one, see ``connected``."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process does what is done once."""
        return self.rank == 0

    def replica(self, network: nn.Module) -> nn.Module:
        """The network, with the weights of the first process and the mean gradients of all."""
        return network if self.size == 1 else DistributedDataParallel(network)

    def agreed(self, value: float) -> float:
        """The value of the first process."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        distributed.broadcast(shared, src=0)
        return shared.item()

    def mean(self, values: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
        """Weighted means over all processes; 0 where nothing has any weight."""
        if self.size == 1:
            return dict(values)
        weight = torch.tensor([weights[name] for name in values], dtype=torch.float64)
        value = torch.tensor(list(values.values()), dtype=torch.float64)
        sums = torch.stack([weight * value, weight])
        distributed.all_reduce(sums)
        means = sums[0] / sums[1].clamp(min=torch.finfo(sums.dtype).tiny)
        return dict(zip(values, means.tolist(), strict=True))


ALONE = Team()


@contextmanager
def connected(team: Team, device: torch.device) -> Iterator[None]:
    """Connects the processes of a team, as ``torchrun`` tells them where to meet.

    Numbers travel by gloo, what is on GPUs by NCCL.

    Args:
        team: All of its processes must call this.
        device: Where this process trains.
    """
    if team.size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, rank=team.rank, world_size=team.size)
    yield  # an interrupted process just ends: taking leave could wait for one that is gone
    distributed.destroy_process_group()
    gc.collect()  # replicas are in cycles, and the threads of what they hold end only with it
