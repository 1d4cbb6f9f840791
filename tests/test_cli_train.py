import io
import json
import re

import numpy as np
import pytest
import torch
import trimesh
from helpers import run_cli, torus
from rich.console import Console  # noqa: TID251

from tfnormals import training
from tfnormals.data import batches
from tfnormals.data.surfaces import closed_surface
from tfnormals.pretrained import RUN_MODEL, load_model

NEW = ("train", "--size", "small", "--batch-points", 300, "--steps", 2)


@pytest.fixture(autouse=True)
def small_and_alone(monkeypatch):
    """Training on small clouds, without a second process."""
    in_turn = lambda data, sampler, **_: (data[step] for step in sampler)  # noqa: E731
    monkeypatch.setattr(training, "DataLoader", in_turn)
    mesh = trimesh.creation.box((3, 2, 1))
    solid = closed_surface("box", mesh.vertices, mesh.faces)
    monkeypatch.setattr(batches, "procedural_surface", lambda rng: solid)
    monkeypatch.setattr(batches, "CLOUD_POINTS", (200, 250, 300))
    monkeypatch.setattr(training, "VALIDATION_CLOUDS", 2)
    monkeypatch.setattr(training, "VALIDATION_POINTS", 300)


@pytest.mark.parametrize(("gpus", "points"), [(0, 8192), (1, 65_536)])
def test_a_gpu_gets_larger_batches(gpus, points, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr("tfnormals.cli.train._train", lambda run, config, *_: seen.append(config))

    run_cli("train", "--out", tmp_path / "run")

    assert [config.batch_points for config in seen] == [points]


@pytest.fixture
def no_picture(monkeypatch):
    """Spares the time to draw the curves."""
    monkeypatch.setattr(
        "tfnormals.training_report.training_curves", lambda run: run / "curves.png"
    )


@pytest.fixture
def shapes(tmp_path):
    """A mesh, an open one and a labelled cloud."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    trimesh.creation.box().export(folder / "box.stl")
    (folder / "open.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    points, normals = torus(1100, np.random.default_rng(0))
    np.savetxt(folder / "torus.xyz", points)
    np.savetxt(folder / "torus.normals", normals)
    return folder


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


def steps_in(run):
    return [json.loads(row)["step"] for row in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_becomes_a_model_with_its_curves(run, capsys):
    assert run_cli(*NEW, "--out", run) == 0

    assert load_model(run).config.scalars[0] == 8
    assert steps_in(run) == [1, 2]
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    out, err = capsys.readouterr()
    assert out == ""
    assert "step 2, 100.0%: validation unoriented " in err
    assert re.search(rf"run: 2 steps in \d\.\d min; model \S+{RUN_MODEL}, curves \S+png\n$", err)


def test_without_a_terminal_losses_come_line_by_line(no_picture, run, monkeypatch, capsys):
    monkeypatch.setattr("tfnormals.cli.train.STEPS_PER_LINE", 1)

    run_cli(*NEW, "--out", run)

    first = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("step"))
    assert first.startswith("step 1, 50.0%: loss ")


def test_a_terminal_gets_a_bar(no_picture, run, monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100, markup=False)
    monkeypatch.setattr("tfnormals.cli.train.talk", console)

    run_cli(*NEW, "--out", run)

    assert "━" in shown.getvalue()
    assert "step 2: loss " in shown.getvalue()


def test_data_is_used_and_what_is_not_is_listed(no_picture, shapes, run, capsys):
    assert run_cli(*NEW, "--out", run, "--data", shapes) == 0

    err = capsys.readouterr().err
    assert f"skipped {shapes / 'open.off'}: not watertight" in err
    assert "2 shapes to learn from, 1 files skipped" in err


def test_resuming_asks_for_nothing_twice(no_picture, shapes, run, capsys):
    run_cli(*NEW, "--out", run, "--data", shapes, "--seed", 3)
    settings = json.loads((run / "config.json").read_text())
    capsys.readouterr()

    assert run_cli("train", "--resume", run, "--steps", 4) == 0

    assert steps_in(run) == [1, 2, 3, 4]
    assert "2 shapes to learn from" in capsys.readouterr().err
    assert json.loads((run / "config.json").read_text()) == settings | {"steps": 4}


def test_a_complete_run_stays_as_it_is(no_picture, run, capsys):
    run_cli(*NEW, "--out", run)
    state = (run / training.STATE).read_bytes()

    assert run_cli("train", "--resume", run) == 0

    assert "was complete; --steps or --minutes makes it longer" in capsys.readouterr().err
    assert (run / training.STATE).read_bytes() == state


def test_an_interrupted_run_tells_how_to_go_on(no_picture, run, monkeypatch, capsys):
    learn = training.Trainer._learn

    def interrupted(trainer, batch):
        if trainer.step == 1:
            raise KeyboardInterrupt
        return learn(trainer, batch)

    monkeypatch.setattr(training.Trainer, "_learn", interrupted)
    assert run_cli(*NEW, "--out", run) == 130
    told = f"stopped at step 1; to go on: tfnormals train --resume {run}"
    assert told in capsys.readouterr().err
    assert not list(run.glob("*.partial"))

    learned = []
    monkeypatch.setattr(training.Trainer, "_learn", lambda *a: learned.append(1) or learn(*a))
    assert run_cli("train", "--resume", run) == 0
    assert steps_in(run) == [1, 2]
    assert len(learned) == 1, "the first step was lost"


def test_a_run_can_be_paced_by_time(no_picture, run):
    assert run_cli(*NEW[:-2], "--minutes", 0.01, "--out", run) == 0

    assert json.loads((run / "config.json").read_text())["minutes"] == 0.01


def test_a_run_that_diverged_is_a_failure(no_picture, run, monkeypatch, capsys):
    nan = {"rmse_deg": np.nan, "oriented_rmse_deg": np.nan, "outward_share": 0.0}
    monkeypatch.setattr(training.Trainer, "_validate", lambda _: nan)

    assert run_cli(*NEW, "--out", run) == 1
    assert "learned nothing finite; lower --learning-rate" in capsys.readouterr().err


def test_a_run_may_start_from_a_model(no_picture, run, tmp_path, monkeypatch):
    assert run_cli(*NEW, "--out", run) == 0
    second = tmp_path / "second"
    more = ("--batch-points", 300, "--learning-rate", 0, "--steps", 1)
    monkeypatch.chdir(tmp_path)

    assert run_cli("train", "--start", run.name, *more, "--out", second) == 0
    monkeypatch.chdir("/")
    assert run_cli("train", "--resume", second, "--steps", 2) == 0

    first, started = load_model(run), load_model(second)
    assert started.config == first.config
    for name, weight in first.state_dict().items():
        assert torch.equal(started.state_dict()[name], weight), name
    assert steps_in(second) == [1, 2]


def test_starting_from_an_unknown_model_makes_no_run(run, capsys):
    assert run_cli("train", "--start", "outward-v99", "--out", run) == 1

    assert "unknown model 'outward-v99'" in capsys.readouterr().err
    assert not run.exists()


def test_a_preview_writes_clouds_and_a_picture_but_trains_nothing(shapes, run, capsys):
    assert run_cli(*NEW, "--out", run, "--data", shapes, "--preview", 3) == 0

    files = [f"cloud-00{number}.ply" for number in range(3)]
    assert sorted(path.name for path in run.iterdir()) == [*files, "contact-sheet.png"]
    err = capsys.readouterr().err
    assert "2 shapes to learn from" in err
    assert err.endswith(f"{run}: 3 training clouds as PLY; picture {run}/contact-sheet.png\n")


@pytest.mark.parametrize(("changes", "same"), [(("--steps", 9), True), (("--seed", 1), False)])
def test_a_preview_depends_on_what_the_clouds_depend_on(changes, same, run, tmp_path):
    other = tmp_path / "other"
    run_cli(*NEW, "--out", run, "--preview", 1)
    run_cli(*NEW, "--out", other, "--preview", 1, *changes)

    one, two = ((folder / "cloud-000.ply").read_bytes() for folder in (run, other))
    assert (one == two) is same


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give one of them"),
        (["--resume", "a", "--preview", 3], "it goes to a new folder, --out"),
        (["--out", "a", "--preview", 0], "--preview"),
        (["--out", "a", "--resume", "b"], "give one of them"),
        (["--out", "a", "--steps", 5, "--minutes", 5], "a run has --steps or --minutes"),
        (["--resume", "a", "--seed", 0], "a run keeps what it started with"),
        (["--resume", "a", "--data", "b"], "a run keeps what it started with"),
        (["--resume", "a", "--start", "b"], "a run keeps what it started with"),
        (["--out", "a", "--start", "b", "--size", "small"], "a model has a size already"),
        (["--out", "a", "--steps", 0], "--steps"),
        (["--out", "a", "--size", "huge"], "huge"),
        (["--out", "a", "--device", "gpu"], "no device 'gpu' here"),
    ],
)
def test_wrong_usage(arguments, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert run_cli("train", *arguments) == 2

    assert reason in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("preview", [(), ("--preview", 2)])
def test_an_existing_run_is_not_touched(preview, no_picture, run, capsys):
    run.mkdir()
    (run / "precious").write_text("")

    assert run_cli(*NEW, "--out", run, *preview) == 1

    assert f"{run}: exists already; --resume continues a run" in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["nowhere", "empty", "useless"])
def test_data_that_cannot_be_used_makes_no_run(name, run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "useless").mkdir()
    (tmp_path / "useless" / "a.obj").write_text("")

    assert run_cli(*NEW, "--out", run, "--data", tmp_path / name) == 1

    assert str(tmp_path / name) in capsys.readouterr().err
    assert not run.exists()


def test_resuming_what_is_no_run(tmp_path, capsys):
    assert run_cli("train", "--resume", tmp_path) == 1
    assert f"{tmp_path}: no training run" in capsys.readouterr().err


def test_resuming_from_a_damaged_state(no_picture, run, capsys):
    run_cli(*NEW, "--out", run)
    state = run / training.STATE
    state.write_bytes(state.read_bytes()[:999])

    assert run_cli("train", "--resume", run) == 1
    assert f"tfnormals: {state}: damaged state" in capsys.readouterr().err
