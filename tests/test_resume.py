"""`predict --resume` skips what is finished and has not changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import run_cli, torus

from tfnormals.cli.journal import JOURNAL, Journal
from tfnormals.cli.targets import Job

NAMES = ("a.xyz", "b.xyz")


def write_scan(path, seed):
    np.savetxt(path, torus(200, np.random.default_rng(seed))[0])


@pytest.fixture
def predict(tmp_path, model, monkeypatch):
    """Predicts two scans into a folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for seed, name in enumerate(NAMES):
        write_scan(tmp_path / name, seed)
    shutil.copy(model, "own.safetensors")

    def run(*options):
        return run_cli("predict", *NAMES, "-o", "out", "--model", "own.safetensors", *options)

    return run


def inodes():
    """What changes when a file is replaced, even by the same bytes."""
    return [Path("out", name).stat().st_ino for name in NAMES]


def replaced(predict, *options):
    """Which outputs a run replaces."""
    before = inodes()
    assert predict("--resume", *options) == 0
    return [old != new for old, new in zip(before, inodes(), strict=True)]


def test_finished_clouds_are_skipped(predict, capsys):
    assert predict("--resume") == 0
    assert "0 of 2 clouds were finished before\n" in capsys.readouterr().err

    assert replaced(predict) == [False, False]

    assert capsys.readouterr().err == "2 of 2 clouds were finished before\n"


def test_a_pattern_that_finds_outputs_as_well_goes_on(predict, capsys):
    def again():
        return run_cli("predict", *Path().glob("*.xyz"), "--resume", "--model", "own.safetensors")

    again()
    Path("b.normals.xyz").unlink()
    capsys.readouterr()

    assert again() == 0
    left_out, resumed, done = capsys.readouterr().err.splitlines()
    assert left_out.startswith("left out 1 of 3 clouds, ")
    assert resumed == "1 of 2 clouds were finished before"
    assert done.startswith("b.xyz -> b.normals.xyz: ")


def test_a_changed_cloud_is_done_again(predict):
    predict("--resume")
    write_scan("a.xyz", 5)

    assert replaced(predict) == [True, False]


@pytest.mark.parametrize("options", [["--toward", "+z"], ["--format", "xyz"]])
def test_with_another_option_all_are_done_again(options, predict):
    predict("--resume")

    assert replaced(predict, *options) == [True, True]
    assert replaced(predict, *options) == [False, False]


def test_with_other_weights_all_are_done_again(predict, small_network):
    from tfnormals.pretrained import save_model

    predict("--resume")
    save_model(Path("own.safetensors"), small_network, "another", {})

    assert replaced(predict) == [True, True]


def test_a_missing_output_is_done_again(predict):
    predict("--resume")
    Path("out/b.xyz").unlink()

    assert predict("--resume") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [JOURNAL, *NAMES]


def test_a_file_of_somebody_else_is_refused(predict, capsys):
    predict("--resume")
    with Path("out/b.xyz").open("a") as file:
        file.write("# precious\n")
    capsys.readouterr()

    assert predict("--resume") == 1
    assert capsys.readouterr().err == (
        f"tfnormals: {Path('out/b.xyz')}: exists already; --overwrite replaces it\n"
    )
    assert replaced(predict, "--overwrite") == [False, True]


def test_files_of_a_run_without_a_journal_are_not_trusted(predict):
    predict()

    assert not Path("out", JOURNAL).exists()
    assert predict("--resume") == 1


def test_a_crash_between_file_and_journal_is_mended(predict):
    predict("--resume")
    journal = Path("out", JOURNAL)
    lines = journal.read_text().splitlines()
    journal.write_text(
        "\n".join(lines[:3]) + "\n" + lines[3][:40]
    )  # b was begun, then the end is cut

    assert replaced(predict) == [False, True]
    assert replaced(predict) == [False, False]


def test_a_failure_is_tried_again(predict, capsys):
    Path("a.xyz").write_text("1 2 3\n")
    assert predict("--resume") == 1
    Path("out/a.xyz").write_text("mine, where nothing was written")
    assert predict("--resume") == 1
    Path("out/a.xyz").unlink()
    write_scan("a.xyz", 0)
    capsys.readouterr()

    assert predict("--resume") == 0
    assert "1 of 2 clouds were finished before" in capsys.readouterr().err


def test_json_tells_of_skipped_clouds_as_well(predict, capsys):
    predict("--resume", "--json")
    first = sorted(capsys.readouterr().out.splitlines())
    predict("--resume", "--json", "-q")

    out, err = capsys.readouterr()
    again = [json.loads(line) for line in sorted(out.splitlines())]
    assert err == ""
    assert [record.pop("skipped") for record in again] == [True, True]
    assert again == [json.loads(line) for line in first]


def test_what_a_killed_process_left_is_removed(predict):
    from tfnormals.clouds import files

    prefix = files._temporary_prefix(Path("out/a.xyz").resolve())
    Path("out", f"{prefix}0123.tmp").touch()
    Path("out", ".other-0123.tmp").touch()

    predict("--resume")

    assert sorted(path.name for path in Path("out").iterdir()) == [
        ".other-0123.tmp",
        JOURNAL,
        *NAMES,
    ]


def test_an_interrupt_tells_how_to_go_on(predict, monkeypatch, capsys):
    from tfnormals import estimation

    estimate, calls = estimation.estimate, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return estimate(*arguments, **options)

    monkeypatch.setattr(estimation, "estimate", interrupted)

    assert predict("--resume") == 130
    assert capsys.readouterr().err.endswith("interrupted; 1 of 2 are left, --resume goes on\n")
    assert predict("--resume") == 0
    assert "1 of 2 clouds were finished before\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-"], "not for stdin and stdout"),
        (["a.xyz", "-o", "-"], "not for stdin and stdout"),
        (["a.xyz", "--preview", "a.png"], "draws nothing with --resume"),
    ],
)
def test_what_cannot_be_resumed(arguments, reason, predict, capsys):
    assert run_cli("predict", "--resume", *arguments) == 2
    assert reason in capsys.readouterr().err


def test_a_journal_that_cannot_be_written(predict, capsys):
    Path("out", JOURNAL).mkdir()

    assert predict("--resume") == 1
    assert f"{Path('out', JOURNAL)}: is a directory; " in capsys.readouterr().err


def test_the_input_counts_as_it_was_before_it_was_read(predict):
    job = Job(Path("a.xyz"), Path("out/a.xyz"))
    journal = Journal([job], "settings")
    journal.begin(job)
    shutil.copy("a.xyz", "out/a.xyz")
    write_scan("a.xyz", 7)
    journal.end(job, {"points": 200})

    assert journal.finished(job) is None
    assert Journal([job], "settings").owns(job)
