import json
from contextlib import nullcontext

import numpy as np
import pytest
from helpers import run_cli, sphere, torus

import tfnormals
from tfnormals.errors import DataError

METRICS = ("rmse_deg", "oriented_rmse_deg", "oriented_rmse_flipped_deg", "outward_share", "pgp5")


@pytest.fixture
def clouds(tmp_path):
    """Two shapes in the PCPNet layout, without and with noise."""
    for name, shape in (("ball", sphere), ("ring", torus)):
        points, normals = shape(200, np.random.default_rng(0))
        noisy = points + np.random.default_rng(1).normal(scale=0.01, size=points.shape)
        for suffix, places in (("", points), ("_noise_white_1.00e-02", noisy)):
            np.savetxt(tmp_path / f"{name}{suffix}.xyz", places)
            np.savetxt(tmp_path / f"{name}{suffix}.normals", normals)
    (tmp_path / "testset_no_noise.txt").write_text("ball\nring\n")
    noisy = "ball_noise_white_1.00e-02\nring_noise_white_1.00e-02\n"
    (tmp_path / "testset_high_noise.txt").write_text(noisy)
    return tmp_path


@pytest.fixture
def one_too_small(clouds):
    """One of the clouds has too few points for a network."""
    for ending in ("xyz", "normals"):
        path = clouds / f"ring.{ending}"
        path.write_text("\n".join(path.read_text().splitlines()[:9]))
    return clouds


@pytest.fixture
def open3d(monkeypatch):
    """A baseline that looks along z, and takes no time to start."""

    def along_z():
        return nullcontext(lambda points: np.tile([0.0, 0.0, 1.0], (len(points), 1)))

    monkeypatch.setattr("tfnormals.baseline.Open3dNormals", along_z)


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_the_table_has_a_line_for_each_variant(clouds, model, capsys):
    assert run_cli("evaluate", "--data", clouds, "--model", model) == 0

    out, err = capsys.readouterr()
    assert err == ""
    variants = [line.split()[1] for line in out.splitlines() if str(model) in line]
    assert variants == ["no_noise", "high_noise", "average"]


def test_the_columns_are_labelled(clouds, model, capsys):
    run_cli("evaluate", "--data", clouds, "--model", model)

    labels = capsys.readouterr().out.split("──")[0].split()
    assert labels[:5] == ["unoriented", "oriented", "oriented,", "outward", "PGP5"]
    told = {"RMSE", "flipped", "shape,", "deg", "%", "PGP10", "median", "CND", "seconds", "100k"}
    assert told < set(labels)


def test_json_has_the_same_lines(clouds, model, capsys):
    run_cli("evaluate", "--data", clouds, "--model", model, "--json")

    lines = lines_of(capsys.readouterr().out)
    assert [line["variant"] for line in lines] == ["no_noise", "high_noise", "average"]
    for line in lines:
        assert {*METRICS, "estimator", "clouds", "failed", "seconds_per_100k"} < line.keys()
        assert line["version"] == tfnormals.__version__


def test_the_figures_are_those_of_the_library(clouds, model, capsys):
    from tfnormals.metrics import normal_metrics

    run_cli("evaluate", "--data", clouds, "--model", model, "--json", "--per-shape")

    points, truth = np.loadtxt(clouds / "ball.xyz"), np.loadtxt(clouds / "ball.normals")
    normals, _ = tfnormals.estimate_normals(points, model=str(model))
    first = lines_of(capsys.readouterr().out)[0]
    expected = normal_metrics(normals, truth)
    assert [first[name] for name in METRICS] == [getattr(expected, name) for name in METRICS]


def test_per_shape_comes_before_the_means(clouds, model, capsys):
    run_cli("evaluate", "--data", clouds, "--model", model, "--json", "--per-shape")

    lines = lines_of(capsys.readouterr().out)
    assert [line.get("shape") for line in lines] == ["ball", "ring"] * 2 + [None] * 3


def test_per_shape_has_a_table_of_its_own(clouds, model, capsys):
    run_cli("evaluate", "--data", clouds, "--model", model, "--per-shape")

    assert capsys.readouterr().out.count(" ring ") == 2


def test_models_and_baseline_meet_the_same_clouds(clouds, model, open3d, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    other.write_bytes(model.read_bytes())
    options = ("--model", model, "--model", other, "--baseline", "open3d", "--json")

    assert run_cli("evaluate", "--data", clouds, *options) == 0

    lines = lines_of(capsys.readouterr().out)
    assert [line["estimator"] for line in lines[::3]] == [str(model), str(other), "open3d"]
    assert lines[0]["rmse_deg"] == lines[3]["rmse_deg"] != lines[6]["rmse_deg"]


def test_a_failure_is_listed_and_counted(one_too_small, model, capsys):
    assert run_cli("evaluate", "--data", one_too_small, "--model", model) == 1

    out, err = capsys.readouterr()
    assert err == f"tfnormals: {model} on ring no_noise: 9 usable points; at least 17 are needed\n"
    assert "2, 1 failed" in out


def test_a_failure_of_the_baseline_is_listed_only(clouds, model, monkeypatch, capsys):
    def fails(points):
        raise DataError("open3d: did not finish in 300 s")

    monkeypatch.setattr("tfnormals.baseline.Open3dNormals", lambda: nullcontext(fails))

    options = ("--model", model, "--baseline", "open3d")
    assert run_cli("evaluate", "--data", clouds, *options) == 0
    assert capsys.readouterr().err.count("open3d: did not finish") == 4


def test_a_baseline_that_cannot_start_says_what_to_install(clouds, model, monkeypatch, capsys):
    def missing():
        raise DataError("open3d: cannot be imported; pip install open3d-cpu")

    monkeypatch.setattr("tfnormals.baseline.Open3dNormals", missing)

    options = ("--model", model, "--baseline", "open3d")
    assert run_cli("evaluate", "--data", clouds, *options) == 1
    assert "pip install" in capsys.readouterr().err


def test_a_report_has_both_estimators_beside_each_other(clouds, model, open3d, tmp_path, capsys):
    options = ("--model", model, "--baseline", "open3d", "--report", tmp_path / "out")

    assert run_cli("evaluate", "--data", clouds, *options) == 0

    out, err = capsys.readouterr()
    assert "average" in out
    assert err.startswith(f"report: {tmp_path / 'out' / 'index.html'} (0.")
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count('loading="lazy"') == 4 * (1 + 2 * 2)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["index.html"]


def test_a_report_has_what_failed(one_too_small, model, tmp_path):
    options = ("--model", model, "--report", tmp_path / "out")

    assert run_cli("evaluate", "--data", one_too_small, *options) == 1
    assert "failed: 9 usable points" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_report_is_replaced_on_demand_only(overwrite, clouds, model, tmp_path, capsys):
    page = tmp_path / "index.html"
    page.write_text("precious")
    options = ["--model", model, "--report", tmp_path] + ["--overwrite"] * overwrite

    assert run_cli("evaluate", "--data", clouds, *options) == (0 if overwrite else 1)

    told = f"tfnormals: {page}: exists already; --overwrite replaces it\n"
    assert (capsys.readouterr().err == told) != overwrite
    assert (page.read_text() == "precious") != overwrite


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("there.txt", "there.txt: not a folder; name a new one"),
        ("no/out", "no/out: no folder no; create it first"),
        ("full", "full/index.html: not a file; name a new one"),
    ],
)
def test_a_report_is_refused_before_computing(folder, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.txt").touch()
    (tmp_path / "full" / "index.html").mkdir(parents=True)

    assert run_cli("evaluate", "--data", "nowhere", "--report", folder) == 1
    assert reason in capsys.readouterr().err


def test_without_clouds_there_is_no_report(tmp_path, model):
    options = ("--model", model, "--report", tmp_path / "out")

    assert run_cli("evaluate", "--data", tmp_path, *options) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--data", "nowhere"], 1, "nowhere: not a folder"),
        (["--data", "."], 1, "no clouds"),
        ([], 2, "--data"),
        (["--data", ".", "--baseline", "hoppe"], 2, "hoppe"),
        (["--data", ".", "--device", "gpu"], 2, "no device 'gpu' here"),
        (["--data", ".", "--model", "tiny"], 1, "unknown model 'tiny'"),
    ],
)
def test_what_cannot_be_evaluated(arguments, code, reason, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    chosen = [] if "--model" in arguments else ["--model", model]

    assert run_cli("evaluate", *arguments, *chosen) == code

    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
