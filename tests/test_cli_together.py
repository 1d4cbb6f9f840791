"""`predict --together`: clouds that are parts of one."""

import json
from pathlib import Path

import numpy as np
import pytest
from cloud_files import pcd, vertices
from helpers import run_cli, torus

from tfnormals import estimate_normals
from tfnormals.clouds import read_cloud
from tfnormals.pretrained import load_model

COUNTS = (150, 250, 100)


@pytest.fixture
def whole():
    return torus(sum(COUNTS), np.random.default_rng(0))[0]


@pytest.fixture
def tiles(whole, tmp_path, monkeypatch):
    """A cloud cut into files, and a folder for the results."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    names = []
    for number, part in enumerate(np.split(whole, np.cumsum(COUNTS)[:-1])):
        names.append(f"{number}.npy")
        np.save(names[-1], part)
    return names


def predict(*arguments):
    return run_cli("predict", *arguments, "-o", "out", "--together")


def results(names):
    return np.concatenate([np.load(f"out/{name}") for name in names])


def test_tiles_get_the_normals_of_the_whole(tiles, whole, model):
    normals, confidence = estimate_normals(whole, model=load_model(str(model)))

    assert predict(*tiles, "--model", model) == 0

    found = results(tiles)
    np.testing.assert_array_equal(found[:, :3], whole)
    np.testing.assert_array_equal(found[:, 3:6], normals.astype(np.float32))
    np.testing.assert_array_equal(found[:, 6], confidence.astype(np.float32))


def test_each_tile_is_told(tiles, whole, model, capsys):
    np.save(tiles[1], np.concatenate([np.load(tiles[1]), [[np.nan, 0, 0]]]))

    assert predict(*tiles, "--model", model, "--json") == 0

    captured = capsys.readouterr()
    told = [json.loads(line) for line in captured.out.splitlines()]
    assert [record["points"] for record in told] == [150, 251, 100]
    assert [record["points_not_finite"] for record in told] == [0, 1, 0]
    assert captured.err.count(" -> ") == 3


def test_each_tile_may_have_its_own_viewpoint(whole, model, tmp_path):
    (tmp_path / "out").mkdir()
    eyes, names = [(9.0, 0, 0), (0, -9.0, 0)], []
    for number, (part, eye) in enumerate(zip(np.split(whole, 2), eyes, strict=True)):
        rows = np.rec.fromarrays(part.astype(np.float32).T, names="x,y,z")
        names.append(tmp_path / f"{number}.pcd")
        names[-1].write_bytes(pcd(rows, VIEWPOINT="{} {} {} 1 0 0 0".format(*eye)))

    code = run_cli("predict", *names, "-o", tmp_path / "out", "--together", "--model", model)

    assert code == 0
    for name, eye in zip(names, eyes, strict=True):
        cloud = read_cloud(tmp_path / "out" / name.name)
        assert ((np.array(eye) - cloud.points) * cloud.normals).sum(1).min() > -1e-6


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda: np.save("1.npy", np.zeros((4, 2))), "has 2 coordinates, 0.npy 3"),
        (lambda: Path("1.npy").write_bytes(b""), "1.npy: an empty file"),
    ],
)
def test_where_one_does_not_go_nothing_is_written(tiles, model, spoil, told, tmp_path, capsys):
    spoil()

    assert predict(*tiles, "--model", model) == 1

    assert told in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_viewpoint_and_outward_do_not_go_together(tiles, model, capsys):
    Path("seen.pcd").write_bytes(pcd(vertices(3), VIEWPOINT="1 2 3 1 0 0 0"))

    assert predict(*tiles, "seen.pcd", "--model", model) == 1

    assert "seen.pcd: its normals would be viewpoint" in capsys.readouterr().err


def test_tiles_on_one_line_are_refused(tiles, model, capsys):
    for number, name in enumerate(tiles):
        np.save(name, np.outer(np.arange(20) + 20 * number, [1.0, 2, 3]))

    assert predict(*tiles, "--model", model) == 1

    assert "the clouds together: all points lie on one line" in capsys.readouterr().err


@pytest.mark.parametrize("other", [["--resume"], ["--workers", 2]])
def test_workers_and_journals_are_for_single_clouds(tiles, model, other, capsys):
    assert predict(*tiles, "--model", model, *other) == 2

    assert "of no use with" in capsys.readouterr().err
