"""What a process learns from ``torchrun``, if that started it: its team, its device, its voice."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from .console import talk
from .options import usable_device

if TYPE_CHECKING:
    import torch

    from ..distributed import Team


def launched_team() -> "Team":
    """The processes that torchrun started; without it this one alone."""
    from ..distributed import ALONE, Team

    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ALONE
    return Team(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def own_device(device: str, team: "Team") -> "torch.device":
    """The torch device that ``--device`` means for this process: each has a GPU of its own."""
    if team.size == 1:
        return usable_device(device)
    if ":" in device:
        raise typer.BadParameter(
            "every process takes a GPU of its own; give auto, cuda or cpu", param_hint="--device"
        )
    place = usable_device(device)
    return place if place.type == "cpu" else usable_device(f"cuda:{os.environ['LOCAL_RANK']}")


def team_command(team: "Team") -> list[str]:
    """How ``tfnormals`` is called for such a team."""
    if team.size == 1:
        return ["tfnormals"]
    return ["torchrun", "--nproc-per-node", os.environ["LOCAL_WORLD_SIZE"], "-m", "tfnormals"]


@contextmanager
def one_voice(team: "Team") -> Iterator[None]:
    """Only the first process talks, but every process tells its error."""
    talk.quiet = not team.leads
    try:
        yield
    finally:
        talk.quiet = False
