import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import run_cli, torus

import tfnormals
from tfnormals.equivariance import Row
from tfnormals.network import TensorFramesPointNet

TRANSFORMS = {"rotation", "reflection", "translation", "permutation", "all"}


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


@pytest.fixture
def rows(monkeypatch):
    """What the next check finds: one good row in each precision, to be changed by a test."""
    row = Row("ring", "rotation", "float64", 2e-9, 1e-9, 3e-10, 4e-12, 0, 0, 1e-6, passed=True)
    found = [row, replace(row, transform="all", dtype="float32", tolerance_deg=1e-3)]
    monkeypatch.setattr("tfnormals.equivariance.check", lambda *_: found)
    return found


def test_a_sound_network_passes_every_transform(cloud, model, capsys):
    assert run_cli("check-equivariance", cloud, "--model", model, "--json") == 0

    out, err = capsys.readouterr()
    assert err == ""
    found = [json.loads(line) for line in out.splitlines()]
    assert {row["transform"] for row in found} > TRANSFORMS
    assert all(row["passed"] for row in found)
    assert (found[0]["cloud"], found[0]["model"]) == (str(cloud), str(model))
    assert found[0]["version"] == tfnormals.__version__


def test_the_table_tells_what_was_measured(rows, model, capsys):
    assert run_cli("check-equivariance", "--model", model) == 0

    units, labels, _, first, second = capsys.readouterr().out.splitlines()
    assert units.split()[:4] == ["worst", "99", "%", "median"]
    assert labels.split()[:4] == ["cloud", "transform", "dtype", "deg"]
    told = ["2.0e-09", "1.0e-09", "3.0e-10", "worst", "1e-06", "4.0e-12", "0", "0", "ok"]
    assert first.split() == ["ring", "rotation", "float64", *told]
    assert "median 1e-03" in second


def test_an_ambiguous_row_says_so(rows, model, capsys):
    rows[0] = replace(rows[0], ambiguous=1200, worst_deg=90.0)

    assert run_cli("check-equivariance", "--model", model) == 0
    assert capsys.readouterr().out.splitlines()[3].split()[-3:] == ["1,200", "0", "ambiguous"]


def test_a_row_above_tolerance_fails(rows, model, capsys):
    rows[1] = replace(rows[1], passed=False)

    assert run_cli("check-equivariance", "--model", model) == 1

    out, err = capsys.readouterr()
    assert out.splitlines()[4].split()[-1] == "FAILED"
    assert err == f"tfnormals: {model}: 1 of 2 transforms above tolerance\n"


def test_a_broken_network_fails(cloud, slanted, capsys):
    assert run_cli("check-equivariance", cloud, "--model", "slanted", "--json") == 1

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = {row["transform"] for row in found if not row["passed"]}
    assert {"rotation", "reflection", "all"} <= failed
    assert "permutation" not in failed


def test_without_a_cloud_the_built_in_set_is_used(model, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "tfnormals.equivariance.check", lambda _, clouds, __: seen.extend(clouds) or []
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
