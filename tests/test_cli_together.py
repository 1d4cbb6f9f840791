"""`predict --together`: clouds that are parts of one."""

import json
from pathlib import Path

import numpy as np
import pytest
from cloud_files import pcd, vertices
from helpers import run_cli, torus

from tfnormals import estimate_normals, estimation
from tfnormals.cli.predictor import Predictor
from tfnormals.cli.workers import Crew
from tfnormals.clouds import read_cloud
from tfnormals.metrics import angle_deg
from tfnormals.pretrained import DEFAULT_MODEL, load_model

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


def test_a_tile_without_a_finite_point_is_written_with_the_others(tiles, model, capsys):
    np.save(tiles[1], np.full((40, 3), np.nan))

    assert predict(*tiles, "--model", model) == 0

    assert "0.0% with low confidence; 40 not finite, given NaN" in capsys.readouterr().err
    assert np.isnan(np.load(f"out/{tiles[1]}")[:, :6]).all()
    assert np.isfinite(np.load(f"out/{tiles[2]}")).all()


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


def test_a_journal_is_for_single_clouds(tiles, model, capsys):
    assert predict(*tiles, "--model", model, "--resume") == 2

    assert "with --together only where --workers" in capsys.readouterr().err


@pytest.fixture
def one_by_one(monkeypatch):
    """Workers that are no processes of their own."""

    def run(crew, predictor, settings, jobs):
        for job in jobs:
            yield job, predictor.report(job, lambda done, total: None), 0

    monkeypatch.setattr(Crew, "run", run)
    return ("--workers", 2)


@pytest.fixture
def quarters(tmp_path, monkeypatch):
    """A torus cut along two planes, and its normals in the order of the files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    points, normals = torus(8000, np.random.default_rng(0))
    quarter = 2 * (points[:, 0] > 0.1) + (points[:, 1] > 0)
    names = []
    for number in range(4):
        names.append(f"{number}.npy")
        np.save(names[-1], points[quarter == number])
    return names, normals[np.argsort(quarter, kind="stable")]


def test_tiles_done_one_by_one_have_the_normals_of_the_whole(quarters, one_by_one):
    names, truth = quarters
    whole = estimate_normals(np.concatenate([np.load(name) for name in names]))[0]

    assert predict(*names, *one_by_one) == 0

    found = results(names)[:, 3:6]
    assert (found * truth).sum(1).min() > 0
    assert np.median(angle_deg(found, whole)) < 0.5
    assert np.quantile(angle_deg(found, whole), 0.99) < 5


def test_without_the_whole_a_tile_knows_less(quarters):
    """The control: alone, some quarters of a torus are inside out, or bent at their edges."""
    names, _ = quarters
    whole = estimate_normals(np.concatenate([np.load(name) for name in names]))[0]

    assert run_cli("predict", *names, "-o", "out") == 0

    assert np.quantile(angle_deg(results(names)[:, 3:6], whole), 0.99) > 5


def test_sides_of_tiles_are_those_of_the_whole(quarters, one_by_one, monkeypatch):
    """What the look at the whole says is what counts, and it is asked once."""
    names, truth = quarters
    asked = []

    def overview(predictor, points):
        asked.append(len(points))
        seen = estimation.overview(points, load_model(DEFAULT_MODEL))
        return seen._replace(
            answer=seen.answer._replace(normals=-seen.answer.normals, logit=seen.answer.logit + 50)
        )

    monkeypatch.setattr(Predictor, "overview", overview)

    assert predict(*names, *one_by_one) == 0

    assert asked == [8000]
    assert ((results(names)[:, 3:6] * truth).sum(1) < 0).mean() > 0.99


def test_a_changed_tile_changes_all(quarters, one_by_one, model, capsys):
    names, _ = quarters
    again = (*names, "--model", model, *one_by_one, "--resume")
    assert predict(*again[:-1]) == 0
    assert predict(*again) == 0
    assert "4 of 4 clouds were finished before" in capsys.readouterr().err
    before = Path("out/3.npy").read_bytes()

    np.save(names[0], np.load(names[0])[1:])

    assert predict(*again) == 0
    assert "0 of 4 clouds were finished before" in capsys.readouterr().err
    assert Path("out/3.npy").read_bytes() != before


def test_tiles_with_sensors_face_them(one_by_one, model, tmp_path):
    (tmp_path / "out").mkdir()
    points = torus(2000, np.random.default_rng(0))[0]
    sensors = np.where(points[:, :1] > 0, [9.0, 0, 0], [-9.0, 0, 1])
    for number, half in enumerate((points[:, 0] > 0, points[:, 0] <= 0)):
        table = np.column_stack([points, sensors])[half]
        name = tmp_path / f"{number}.csv"
        np.savetxt(name, table, delimiter=",", header="x,y,z,sx,sy,sz", comments="")

    names = [tmp_path / "0.csv", tmp_path / "1.csv"]
    columns = ("--sensor-columns", "sx", "sy", "sz")
    arguments = ("-o", tmp_path / "out", "--together", "--model", model)
    assert run_cli("predict", *names, *columns, *arguments, *one_by_one) == 0

    for name in names:
        found = np.loadtxt(tmp_path / "out" / name.name, delimiter=",", skiprows=1)
        sight = found[:, 3:6] - found[:, :3]
        assert (sight * found[:, 6:9]).sum(1).min() > -1e-5


def test_contours_and_streams_are_not_done_one_by_one(one_by_one, tiles, model, capsys):
    np.savetxt("flat.csv", np.zeros((30, 2)), delimiter=",", header="x,y", comments="")
    assert predict("flat.csv", tiles[0], "--model", model, *one_by_one) == 1
    assert (
        "flat.csv: a 2-D contour; contours go together on one machine" in capsys.readouterr().err
    )

    code = run_cli("predict", "-", "--together", "--model", model, *one_by_one)

    assert code == 2
    assert "not for stdin; name files" in capsys.readouterr().err


def test_a_tile_without_a_finite_point_is_refused(one_by_one, tiles, model, capsys):
    np.save(tiles[1], np.full((40, 3), np.nan))

    assert predict(*tiles, "--model", model, *one_by_one) == 1

    assert "1.npy: no finite point; leave it out" in capsys.readouterr().err
    assert not list(Path("out").iterdir())
