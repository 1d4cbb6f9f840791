import pytest
import torch
from typer import BadParameter  # noqa: TID251

from tfnormals.cli import console, torchrun
from tfnormals.distributed import ALONE, Team


@pytest.fixture
def second_of_two(monkeypatch):
    """What torchrun tells the second of two processes."""
    told = {"TORCHELASTIC_RUN_ID": "none", "RANK": 1, "WORLD_SIZE": 2}
    for name, value in {**told, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    return Team(1, 2)


def test_torchrun_tells_the_team(second_of_two):
    assert torchrun.launched_team() == second_of_two


def test_without_torchrun_a_process_is_alone(second_of_two, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")

    assert torchrun.launched_team() == ALONE


@pytest.mark.parametrize(
    ("device", "gpus", "own"),
    [
        ("auto", 2, "cuda:1"),
        ("cuda", 2, "cuda:1"),
        ("cpu", 2, "cpu"),
        ("auto", 0, "cpu"),
    ],
)
def test_every_process_has_its_own_gpu(device, gpus, own, second_of_two, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    assert str(torchrun.own_device(device, second_of_two)) == own


@pytest.mark.parametrize(
    ("device", "gpus", "reason"),
    [
        ("cuda:0", 2, "every process takes a GPU of its own"),
        ("auto", 1, "no device 'cuda:1' here; available: auto, cpu, cuda:0"),
        ("cuda", 0, "no device 'cuda' here"),
    ],
)
def test_a_gpu_that_is_not_there(device, gpus, reason, second_of_two, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    with pytest.raises(BadParameter, match=reason):
        torchrun.own_device(device, second_of_two)


def test_a_process_alone_may_choose_its_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert str(torchrun.own_device("cuda:1", ALONE)) == "cuda:1"


def test_only_the_first_process_talks_but_each_tells_its_error(second_of_two, capsys):
    with torchrun.one_voice(second_of_two):
        console.talk.print("one of many")
    console.say_error("an error")

    assert capsys.readouterr().err == "tfnormals: an error\n"
