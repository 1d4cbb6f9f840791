import copy
import json

import numpy as np
import pytest
from helpers import run_cli, sphere, torus

import tfnormals
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


def test_the_table_has_every_transform_in_both_precisions(cloud, model, capsys):
    assert run_cli("check-equivariance", cloud, "--model", model) == 0

    out, err = capsys.readouterr()
    assert err == ""
    rows = [line.split() for line in out.splitlines() if line.strip().startswith(str(cloud))]
    assert {row[1] for row in rows} > TRANSFORMS
    assert all(row[-1] == "ok" for row in rows)
    assert sum("float64" in row for row in rows) == sum("float32" in row for row in rows) > 5
    assert all(label in out for label in ("worst", "99 %", "median", "ambiguous"))


def test_json_has_one_object_per_row(cloud, model, capsys):
    assert run_cli("check-equivariance", cloud, "--model", model, "--json") == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row in rows:
        assert row["passed"]
        assert 0 <= row["median_deg"] <= row["p99_deg"] <= row["worst_deg"]
        assert (row["model"], row["version"]) == (str(model), tfnormals.__version__)


def test_a_broken_network_fails(cloud, slanted, capsys):
    assert run_cli("check-equivariance", cloud, "--model", "slanted") == 1

    out, err = capsys.readouterr()
    failed = [line.split()[1] for line in out.splitlines() if "FAILED" in line]
    assert {"rotation", "reflection", "all"} <= set(failed)
    assert "permutation" not in failed
    assert err == f"tfnormals: slanted: {len(failed)} of 14 transforms above tolerance\n"


def test_a_symmetric_cloud_is_declared_ambiguous(model, tmp_path, capsys):
    points = sphere(60, np.random.default_rng(0))[0]
    path = tmp_path / "pairs.xyz"
    np.savetxt(path, np.vstack([points, -points]))

    assert run_cli("check-equivariance", path, "--model", model) == 0
    assert capsys.readouterr().out.count(" ambiguous ") >= 12


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
