import copy
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import run_cli, torus
from matplotlib.image import imread

import tfnormals
from tfnormals.clouds import read_cloud
from tfnormals.equivariance import KINDS
from tfnormals.network import TensorFramesPointNet


class Slanted(TensorFramesPointNet):
    """A network that likes one direction, so that it does not follow rotations."""

    def answer(self, *arguments):
        answer = super().answer(*arguments)
        normals = answer.normals + answer.normals.new_tensor([0.0, 0.0, 0.1])
        return answer._replace(normals=normals / normals.norm(dim=1, keepdim=True))


@pytest.fixture
def cloud(tmp_path):
    path = tmp_path / "ring.xyz"
    np.savetxt(path, torus(120, np.random.default_rng(0))[0])
    return path


@pytest.fixture
def slanted(small_network, monkeypatch):
    """Every model is a broken one."""
    network = copy.deepcopy(small_network)
    network.__class__ = Slanted
    monkeypatch.setattr("tfnormals.pretrained.load_model", lambda _: network)


def convict(name):
    """What --model is given for an estimator of convicts.py, which pytest can import."""
    return f"convicts:{name}"


def records(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_sound_network_passes_every_transform(cloud, model, capsys):
    assert run_cli("check-equivariance", cloud, "--model", model, "--json") == 0

    out, err = capsys.readouterr()
    assert err == ""
    found = [json.loads(line) for line in out.splitlines()]
    assert [row["transform"] for row in found] == [*KINDS, *KINDS]
    assert {row["check"] for row in found} == {"transform"}
    assert all(row["passed"] for row in found)
    assert (found[0]["cloud"], found[0]["model"]) == (str(cloud), str(model))
    assert found[0]["version"] == tfnormals.__version__


def test_the_table_has_a_line_for_each_cloud_and_precision(cloud, model, capsys):
    assert run_cli("check-equivariance", cloud, "--model", model) == 0

    *_, labels, _, exact, rounded = capsys.readouterr().out.splitlines()
    assert labels.split()[:4] == ["cloud", "dtype", "angle", "repetition"]
    assert exact.split()[:6] == [str(cloud), "float64", "worst", "<=", "1e-06", "deg"]
    assert rounded.split()[1:6] == ["float32", "median", "<=", "1e-03", "deg"]
    assert exact.split()[-1] == "ok"
    assert len(exact.split()) == 6 + len(KINDS) + 2


def test_failures_are_marked_and_summed_up(cloud, capsys):
    assert run_cli("check-equivariance", cloud, "--model", convict("pseudovector")) == 1

    out, err = capsys.readouterr()
    line = out.splitlines()[-1]
    assert line.count(" !") == 2
    assert line.endswith("FAILED")
    assert err.startswith(
        "tfnormals: convicts:pseudovector: 2 of 8 checks failed; worst transform"
    )
    assert "180 degrees at worst, 100.0% of points above 1e-06" in err


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("outward", "ok"),
        ("Made", "ok"),
        ("in_place", "FAILED: changes its input"),
        ("unsteady", "FAILED: not the same twice"),
        ("zeros", "FAILED: not finite"),
    ],
)
def test_the_verdict_on_a_function(name, verdict, cloud, capsys):
    code = run_cli("check-equivariance", cloud, "--model", convict(name))

    assert capsys.readouterr().out.splitlines()[-1].endswith(f"  {verdict}")
    assert code == (verdict != "ok")


def test_what_is_not_finite_is_valid_json(cloud, capsys):
    assert run_cli("check-equivariance", cloud, "--model", convict("zeros"), "--json") == 1

    assert {(row["worst_deg"], row["share_above"]) for row in records(capsys)} == {(None, 1.0)}


def test_unoriented_normals_are_compared_up_to_sign(cloud, capsys):
    arguments = ("check-equivariance", cloud, "--model", convict("lines"))

    assert run_cli(*arguments) == 1
    assert run_cli(*arguments, "--unoriented") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("ok, up to sign")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere:f", "cannot import 'nowhere' (No module named 'nowhere'); give MODULE:CALLABLE"),
        ("convicts:nothing", "module 'convicts' has no attribute 'nothing'; give MODULE:CALLABLE"),
        ("convicts:NUMBER", "convicts:NUMBER is int, not callable"),
        ("convicts:Needy", "convicts:Needy is a class that needs arguments"),
        ("convicts:two_columns", "returned shape (120, 2) where (120, 3) was expected"),
    ],
)
def test_what_is_no_estimator_is_explained(name, reason, cloud, capsys):
    assert run_cli("check-equivariance", cloud, "--model", name) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err


def test_a_module_of_this_folder_is_found(cloud, tmp_path, monkeypatch):
    (tmp_path / "my_own_estimator.py").write_text("f = lambda points: points - points.mean(0)\n")
    monkeypatch.chdir(tmp_path)

    assert run_cli("check-equivariance", cloud, "--model", "my_own_estimator:f") == 0


def test_a_refused_cloud_is_named_and_the_others_are_checked(capsys):
    assert run_cli("check-equivariance", "--model", convict("planes_refused")) == 1

    out, err = capsys.readouterr()
    assert err.splitlines()[:2] == ["tfnormals: plane: flat", "tfnormals: grid: flat"]
    assert {"torus", "two"} <= {line.split()[0] for line in out.splitlines() if line}


def test_everything_is_checked_told_and_drawn(cloud, capsys, tmp_path):
    ply, png = tmp_path / "worst.ply", tmp_path / "found.png"
    extra = ("--lie", "--continuity", "--json", "--points", ply, "--picture", png)

    assert run_cli("check-equivariance", cloud, "--model", convict("twice_turned"), *extra) == 1

    kinds = [row["check"] for row in records(capsys)]
    assert kinds == 8 * ["transform"] + 2 * ["continuity"] + 3 * ["lie"]
    assert len(read_cloud(ply).points) == 120
    assert imread(png).shape[1] > 1000


def test_tables_of_everything(cloud, slanted, capsys, monkeypatch):
    from tfnormals import local_equivariance

    monkeypatch.setattr(
        local_equivariance,
        "layer_rows",
        lambda *_: [local_equivariance.LayerRow("ring", "up 0", 1e-3, 1e-4, passed=False)],
    )

    assert run_cli("check-equivariance", cloud, "--lie", "--continuity", "--layerwise") == 1

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["up", "0", "1.0e-03", "!", "1.0e-04", "ERRS"] in lines
    assert [line[1] for line in lines if line[-1:] == ["SMOOTH"]] == ["rotation"]
    assert [line[1:4] for line in lines if "points" in line[2:3]] == [["all", "points", "1e-07"]]


def test_a_jump_alone_accuses_no_transform(tmp_path, capsys):
    points = np.round(np.random.default_rng(0).uniform(0, 6, (150, 3)))
    np.savetxt(tmp_path / "voxels.xyz", np.unique(points, axis=0))
    arguments = ("check-equivariance", tmp_path / "voxels.xyz", "--continuity")

    assert run_cli(*arguments, "--model", convict("nearest")) == 1

    err = capsys.readouterr().err
    assert err == "tfnormals: convicts:nearest: 2 of 10 checks failed\n"


def test_layers_of_a_function_are_unknown(cloud, capsys):
    name = convict("outward")

    assert run_cli("check-equivariance", cloud, "--model", name, "--layerwise") == 2
    assert "convicts:outward is no network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "name", "code", "reason"),
    [
        ("--points", "worst.xyz", 2, "does not end in .ply"),
        ("--picture", "found.jpg", 2, "does not end in .png"),
        ("--points", "no/worst.ply", 1, "no folder no"),
        ("--picture", "there.png", 1, "there.png: exists already; --overwrite replaces it"),
    ],
)
def test_files_that_could_not_be_written_are_refused_at_once(
    option, name, code, reason, cloud, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("there.png").touch()

    assert run_cli("check-equivariance", cloud, "--model", "nowhere:f", option, name) == code

    err = capsys.readouterr().err
    assert reason in " ".join(err.split())


def test_overwrite_replaces_a_picture(cloud, tmp_path):
    path = tmp_path / "there.png"
    path.touch()
    arguments = ("--model", convict("outward"), "--picture", path, "--overwrite")

    assert run_cli("check-equivariance", cloud, *arguments) == 0
    assert path.stat().st_size > 0


def test_a_broken_network_fails(cloud, slanted, capsys):
    assert run_cli("check-equivariance", cloud, "--model", "slanted", "--json") == 1

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = {row["transform"] for row in found if not row["passed"]}
    assert {"rotation", "reflection", "all"} <= failed
    assert "permutation" not in failed


def test_without_a_cloud_the_built_in_set_is_used(model, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "tfnormals.equivariance.check", lambda _, name, *__: seen.append(name) or []
    )

    assert run_cli("check-equivariance", "--model", model) == 0
    assert {"cube", "plane"} < set(seen)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("few.xyz", "1 2 3\n" * 9, "few.xyz: 9 usable points; at least 17 are needed"),
        ("words.xyz", "a b c d\n1 2 3 4", "words.xyz: no x y z"),
    ],
)
def test_a_bad_cloud_is_named(name, text, reason, model, tmp_path, capsys):
    (tmp_path / name).write_text(text)

    assert run_cli("check-equivariance", tmp_path / name, "--model", model) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err


def test_an_unknown_model(cloud, capsys):
    assert run_cli("check-equivariance", cloud, "--model", "tiny") == 1
    assert "unknown model 'tiny'" in capsys.readouterr().err
