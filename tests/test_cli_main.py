import os
import subprocess
import sys
from typing import get_args

import pytest
import typer  # noqa: TID251
from helpers import run_cli

import tfnormals
from tfnormals.cli import app, main
from tfnormals.cli.options import DEFAULT_MODEL
from tfnormals.cli.predictor import Format

COMMANDS = ("predict", "train", "evaluate", "check-equivariance")
WITHOUT_TORCH = """
import contextlib, sys
from tfnormals.cli import main
for arguments in ([], ["--help"], ["--version"], ["predict", "--help"], ["predict"],
                  ["predict", "a.ply", "--orient", "up"], ["predict", "a.ply", "b.ply", "-o", "c"],
                  ["predict", "a.ply", "--viewpoint", "0", "0", "nan"], ["predict", "no.ply"],
                  ["train"], ["evaluate"], ["check-equivariance", "no.ply"]):
    with contextlib.suppress(SystemExit):
        main(arguments)
print("torch" in sys.modules)
"""


def test_a_bare_call_shows_the_help_and_is_wrong_usage(capsys):
    assert run_cli() == 2
    told = "".join(capsys.readouterr())
    assert all(f"  {command}  " in told for command in COMMANDS)


def test_the_version_is_printed(capsys):
    assert run_cli("--version") == 0
    assert capsys.readouterr().out == f"tfnormals {tfnormals.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert run_cli(command, "--help") == 0
    assert f"Usage: tfnormals {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help(command):
    parameters = typer.main.get_command(app).commands[command].params

    assert [parameter.name for parameter in parameters if not parameter.help] == []


@pytest.mark.parametrize(
    "arguments", [["fly"], ["predict", "a.ply", "--fly"], ["evaluate"], ["train"]]
)
def test_wrong_usage_is_told_on_stderr(arguments, capsys):
    assert run_cli(*arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert "Error: " in err


def test_torch_is_not_imported_before_it_is_needed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.endswith("False\n")


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("tfnormals.clouds.read_cloud", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        main(["predict", "cloud.ply"])


def test_a_reader_that_stops_early_is_no_error(model, tmp_path):
    (tmp_path / "line.xyz").write_text("".join(f"{i} {i * i} {i % 3}\n" for i in range(99)))
    command = f"{sys.executable} -m tfnormals predict line.xyz --model {model} -o - -q | head -n 1"

    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)

    assert done.stderr == ""
    assert done.stdout.startswith("0 0 0 ")


def test_the_entry_point_is_the_command_line():
    command = "from importlib.metadata import entry_points as e; e(group='console_scripts', "
    call = "name='tfnormals')['tfnormals'].load()(['--version'])"
    done = subprocess.run([sys.executable, "-c", command + call], capture_output=True, text=True)

    assert done.stdout == f"tfnormals {tfnormals.__version__}\n"


def test_the_command_line_repeats_constants_of_slow_modules_truly():
    from tfnormals.cli.sides import Orient as Told
    from tfnormals.estimation import Orient
    from tfnormals.formats import CONVERTED, FORMATS
    from tfnormals.pretrained import DEFAULT_MODEL as TRUE_DEFAULT

    assert DEFAULT_MODEL == TRUE_DEFAULT
    assert {f".{ending}" for ending in get_args(Format)} == {*FORMATS, *CONVERTED}
    assert get_args(Told) == get_args(Orient)


def test_the_help_of_train_tells_the_true_defaults(capsys):
    from tfnormals.training import TrainingConfig

    run_cli("train", "--help")

    told, config = capsys.readouterr().out, TrainingConfig()
    for value in (config.steps, config.batch_points, config.learning_rate, config.seed):
        assert f"({value})" in told


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning_unless_told_otherwise(given, expected, monkeypatch):
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    else:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)

    run_cli("--version")

    assert os.environ["OMP_WAIT_POLICY"] == expected
