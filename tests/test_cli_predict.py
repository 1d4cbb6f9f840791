import io
import json
import re
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from cloud_files import parsed_ply, pcd, ply, vertices
from helpers import FLOAT32_MEDIAN_DEG, rotation, run_cli, torus
from las_files import copc, las, parsed_las
from matplotlib.image import imread
from rich.console import Console  # noqa: TID251

import tfnormals
from tfnormals.clouds import read_cloud
from tfnormals.metrics import angle_deg

POINTS = torus(300, np.random.default_rng(0))[0].astype(np.float32)


def rows(points=POINTS, *columns):
    table = vertices(len(points), *columns)
    for place, axis in enumerate("xyz"):
        table[axis] = points[:, place]
    return table


@pytest.fixture
def scan(tmp_path):
    """A binary PLY file with colours."""
    path = tmp_path / "scan.ply"
    path.write_bytes(ply(rows(POINTS, ("red", "u1"), ("t", "<f8")), comments=["from a [red] rig"]))
    return path


@pytest.fixture
def kinect(tmp_path):
    """A PCD file with a viewpoint of its own."""
    path = tmp_path / "kinect.pcd"
    path.write_bytes(pcd(rows(), VIEWPOINT="9 8 7 1 0 0 0"))
    return path


@pytest.fixture
def stdin(monkeypatch):
    """Gives bytes to the next command."""

    def give(data):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def normals_in(path):
    return read_cloud(path).normals


def test_the_normals_go_beside_the_cloud(scan, model, capsys):
    assert run_cli("predict", scan, "--model", model) == 0

    normals = normals_in(scan.with_name("scan.normals.ply"))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert capsys.readouterr().out == ""


def test_the_rest_of_the_file_is_kept(scan, model):
    run_cli("predict", scan, "--model", model)

    before = parsed_ply(scan.read_bytes())
    after = parsed_ply(scan.with_name("scan.normals.ply").read_bytes())
    assert after.comments == before.comments
    for name in before["vertex"].data.dtype.names:
        assert after["vertex"][name].tobytes() == before["vertex"][name].tobytes()
    added = [prop.name for prop in after["vertex"].properties][5:]
    assert added == ["nx", "ny", "nz", "normal_confidence"]


def test_command_and_library_agree(scan, model):
    run_cli("predict", scan, "--model", model)

    points = POINTS.astype(np.float64)
    normals, confidence = tfnormals.estimate_normals(points, model=str(model))
    vertex = parsed_ply(scan.with_name("scan.normals.ply").read_bytes())["vertex"]
    np.testing.assert_array_equal(vertex["normal_confidence"], confidence.astype(np.float32))
    np.testing.assert_array_equal(vertex["ny"], normals[:, 1].astype(np.float32))


def test_one_line_on_stderr_says_what_was_done(scan, model, capsys):
    run_cli("predict", scan, "--model", model)

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(f"{scan} -> {scan.with_name('scan.normals.ply')}: 300 points in ")
    assert " points/s), " in err
    assert "% with low confidence" in err


def test_what_did_not_fit_on_a_gpu_is_told(scan, model, full_gpu, capsys):
    assert run_cli("predict", scan, "--model", model) == 0

    assert "; the GPU had no room for it, so the CPU did it\n" in capsys.readouterr().err


def test_quiet_is_quiet(scan, model, capsys):
    run_cli("predict", scan, "--model", model, "-q")

    assert capsys.readouterr() == ("", "")


def test_a_rotated_file_gives_rotated_normals(scan, model, tmp_path):
    turn = rotation(np.random.default_rng(3))
    turned = tmp_path / "turned.ply"
    turned.write_bytes(ply(rows((POINTS.astype(np.float64) @ turn.T).astype(np.float32))))

    run_cli("predict", scan, turned, "--model", model)

    first = normals_in(scan.with_name("scan.normals.ply"))
    second = normals_in(tmp_path / "turned.normals.ply")
    assert np.median(angle_deg(first @ turn.T, second)) < FLOAT32_MEDIAN_DEG


def test_output_names_the_file(scan, model, tmp_path):
    assert run_cli("predict", scan, "-o", tmp_path / "out.ply", "--model", model) == 0

    assert normals_in(tmp_path / "out.ply") is not None
    assert not scan.with_name("scan.normals.ply").exists()


def test_many_clouds_go_into_a_folder(scan, kinect, model, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()

    assert run_cli("predict", scan, kinect, "-o", folder, "--model", model) == 0

    assert sorted(path.name for path in folder.iterdir()) == ["kinect.pcd", "scan.ply"]


@pytest.mark.parametrize(
    ("name", "file_format", "options", "target"),
    [
        ("t.pts", "xyz", ["-o", "out"], "out/t.xyz"),
        ("t", "txt", [], "t.normals.txt"),
        ("t.v2", "obj", [], "t.normals.ply"),
        ("t.asc", "xyz", [], "t.normals.asc"),
    ],
)
def test_the_format_ends_names_where_those_of_clouds_do_not_tell(
    name, file_format, options, target, model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    start = "v " if file_format == "obj" else ""
    (tmp_path / name).write_text("".join(f"{start}{x} {y} {z}\n" for x, y, z in POINTS))

    assert run_cli("predict", name, "--format", file_format, "--model", model, *options) == 0

    assert (tmp_path / target).exists()


def test_a_second_run_leaves_out_the_outputs_of_the_first(scan, model, tmp_path, capsys):
    def predict(*options):
        return run_cli("predict", *tmp_path.glob("*.ply"), "--model", model, *options)

    predict()
    capsys.readouterr()

    assert predict("--overwrite") == 0
    told = "left out 1 of 2 clouds, which are outputs of others; -o FOLDER does them as well\n"
    assert capsys.readouterr().err.startswith(told)
    assert predict("--overwrite", "-q") == 0
    assert capsys.readouterr().err == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.normals.ply", "scan.ply"]


def test_outputs_of_others_are_done_into_a_folder(scan, model, tmp_path):
    run_cli("predict", scan, "--model", model)
    (tmp_path / "out").mkdir()

    run_cli("predict", *tmp_path.glob("*.ply"), "-o", tmp_path / "out", "--model", model)

    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["scan.normals.ply", "scan.ply"]


def test_a_cloud_goes_to_stdout(scan, model, capsysbinary):
    assert run_cli("predict", scan, "-o", "-", "--model", model) == 0

    out, err = capsysbinary.readouterr()
    assert len(parsed_ply(out)["vertex"]["nx"]) == 300
    assert b"<stdout>" in err


def test_stdin_goes_to_stdout(scan, model, stdin, capsysbinary):
    stdin(scan.read_bytes())

    assert run_cli("predict", "-", "--model", model, "-q") == 0

    assert len(parsed_ply(capsysbinary.readouterr().out)["vertex"]["nx"]) == 300


def test_text_on_stdin_needs_its_format(model, stdin, tmp_path, capsys):
    text = "\n".join(f"{x},{y},{z}" for x, y, z in POINTS).encode()
    arguments = ("predict", "-", "-o", tmp_path / "out.csv", "--model", model)

    stdin(text)
    assert run_cli(*arguments) == 1
    assert ": its first bytes tell no format" in capsys.readouterr().err
    stdin(text)
    assert run_cli(*arguments, "--format", "csv") == 0
    assert len((tmp_path / "out.csv").read_text().split("\n")[0].split(",")) == 7


def test_json_has_one_object_per_cloud(scan, kinect, model, tmp_path, capsys):
    missing = tmp_path / "missing.ply"
    assert run_cli("predict", scan, missing, kinect, "--json", "--model", model) == 1

    good, bad, other = map(json.loads, capsys.readouterr().out.splitlines())
    assert good["input"] == str(scan)
    assert good["output"] == str(scan.with_name("scan.normals.ply"))
    assert (good["points"], good["points_not_finite"]) == (300, 0)
    assert (good["orient"], good["viewpoint"]) == ("outward", None)
    assert 0 <= good["low_confidence_share"] <= 1
    assert {"seconds", "points_per_second", "planar", "ambiguous"} < good.keys()
    assert (good["model"], good["version"]) == (str(model), tfnormals.__version__)
    assert "no such file" in bad["error"]
    assert (other["orient"], other["viewpoint"]) == ("viewpoint", [9, 8, 7])


def test_good_clouds_are_done_after_a_bad_one(scan, model, tmp_path, capsys):
    assert run_cli("predict", tmp_path / "a.ply", scan, tmp_path / "b.ply", "--model", model) == 1

    err = capsys.readouterr().err
    assert f"tfnormals: {tmp_path / 'a.ply'}: no such file" in err
    assert err.endswith("tfnormals: 2 of 3 clouds failed\n")
    assert scan.with_name("scan.normals.ply").exists()


@pytest.mark.parametrize("laz", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_las_goes_through_pipes(laz, told, model, stdin, capsysbinary):
    data = las(6, len(POINTS), laz=laz, points=np.round(POINTS * 1000))
    stdin(data)

    options = ["--format", "laz" if laz else "las"] if told else []
    assert run_cli("predict", "-", "-q", "--model", model, *options) == 0

    after = parsed_las(capsysbinary.readouterr().out)
    np.testing.assert_array_equal(after.xyz, parsed_las(data).xyz)
    norms = np.linalg.norm([after.nx, after.ny, after.nz], axis=0)
    np.testing.assert_allclose(norms, 1, atol=1e-6)


def test_what_the_output_cannot_hold_is_told(model, tmp_path, capsys):
    (tmp_path / "scan.copc.laz").write_bytes(copc())

    assert run_cli("predict", tmp_path / "scan.copc.laz", "--model", model, "--json") == 0

    out, err = capsys.readouterr()
    assert "; COPC becomes plain LAZ" in err
    assert "COPC becomes plain LAZ" in json.loads(out)["losses"][0]
    assert len(parsed_las((tmp_path / "scan.copc.normals.laz").read_bytes()).nx) == 81


def facing(path, viewpoint):
    cloud = read_cloud(path)
    return ((np.asarray(viewpoint) - cloud.points) * cloud.normals).sum(1) >= 0


def test_the_viewpoint_of_a_pcd_is_used_and_told(kinect, model, tmp_path, capsys):
    run_cli("predict", kinect, "--model", model)

    assert "; facing the viewpoint 9 8 7 of the file" in capsys.readouterr().err
    assert facing(tmp_path / "kinect.normals.pcd", [9, 8, 7]).all()


def test_orient_outward_overrides_the_viewpoint_of_a_pcd(kinect, model, tmp_path, capsys):
    run_cli("predict", kinect, "--model", model, "--orient", "outward")

    assert "viewpoint" not in capsys.readouterr().err
    assert not facing(tmp_path / "kinect.normals.pcd", [9, 8, 7]).all()


def test_a_viewpoint_given_goes_before_that_of_the_file(kinect, model, tmp_path, capsys):
    run_cli("predict", kinect, "--model", model, "--viewpoint", "-5", "0", "0.5")

    assert "; facing the viewpoint -5 0 0.5\n" in capsys.readouterr().err
    assert facing(tmp_path / "kinect.normals.pcd", [-5, 0, 0.5]).all()


def test_orient_viewpoint_without_one_is_an_error(scan, model, tmp_path, capsys):
    assert run_cli("predict", scan, "--model", model, "--orient", "viewpoint") == 1

    assert "scan.ply: holds no viewpoint; give --viewpoint X Y Z" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [scan]


def test_orient_none_gives_the_same_lines(scan, model, tmp_path):
    run_cli("predict", scan, "--model", model, "-o", tmp_path / "a.ply")
    run_cli("predict", scan, "--model", model, "-o", tmp_path / "b.ply", "--orient", "none")

    cosine = (normals_in(tmp_path / "a.ply") * normals_in(tmp_path / "b.ply")).sum(1)
    np.testing.assert_allclose(np.abs(cosine), 1, atol=1e-6)


def test_overwriting_in_place_replaces_the_normals(scan, model):
    run_cli("predict", scan, "-o", scan, "--overwrite", "--model", model)
    first = scan.read_bytes()

    assert run_cli("predict", scan, "-o", scan, "--overwrite", "--model", model) == 0

    assert scan.read_bytes() == first


def test_a_training_run_is_a_model(scan, small_network, tmp_path):
    from tfnormals.pretrained import RUN_MODEL, save_model

    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run" / RUN_MODEL, small_network, "run", {})

    assert run_cli("predict", scan, "--model", tmp_path / "run") == 0


def test_the_model_is_loaded_once(scan, kinect, model, monkeypatch):
    from tfnormals import pretrained

    calls, load = [], pretrained.load_model
    monkeypatch.setattr(pretrained, "load_model", lambda name: calls.append(name) or load(name))

    run_cli("predict", scan, kinect, "--model", model)

    assert calls == [str(model)]


@pytest.fixture
def small_pictures(monkeypatch):
    """Pictures that take little time."""
    monkeypatch.setattr("tfnormals.preview.WIDTH", 60)


def test_the_preview_shows_the_normals_of_the_file(scan, model, tmp_path, small_pictures):
    from tfnormals.preview import preview

    assert run_cli("predict", scan, "--model", model, "--preview", tmp_path / "ring.png") == 0

    normals = normals_in(tmp_path / "scan.normals.ply")
    image, expected = imread(tmp_path / "ring.png"), imread(io.BytesIO(preview(POINTS, normals)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ring.png",
        "scan.normals.ply",
        "scan.ply",
    ]
    np.testing.assert_allclose(image, expected, atol=0.02)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ([], {"viewpoint": (9, 8, 7), "signed": True}),
        (["--viewpoint", "0", "0", "5"], {"viewpoint": (0, 0, 5), "signed": True}),
        (["--orient", "none"], {"viewpoint": None, "signed": False}),
    ],
)
def test_the_preview_knows_the_sensor_and_the_sides(
    options, given, kinect, model, tmp_path, monkeypatch
):
    told = []
    monkeypatch.setattr("tfnormals.preview.preview", lambda *_, **o: told.append(o) or b"picture")

    run_cli("predict", kinect, "--model", model, "--preview", tmp_path / "a.png", *options)

    assert told == [given]
    assert (tmp_path / "a.png").read_bytes() == b"picture"


def test_a_contour_has_a_preview(tmp_path, small_pictures):
    angle = np.linspace(0, 2 * np.pi, 90)[1:]
    path = tmp_path / "outline.csv"
    corners = np.column_stack([np.cos(angle) ** 3, np.sin(angle)])
    np.savetxt(path, corners, delimiter=",", header="x,y", comments="")

    assert run_cli("predict", path, "--preview", tmp_path / "outline.png") == 0
    assert max(imread(tmp_path / "outline.png").shape) == 60


def test_a_preview_is_replaced_on_demand(scan, model, tmp_path, small_pictures):
    picture = tmp_path / "a.png"
    picture.touch()

    run_cli("predict", scan, "--model", model, "--preview", picture, "--overwrite")

    assert imread(picture).shape[1] == 60


@pytest.mark.parametrize(("terminal", "quiet"), [(True, []), (True, ["-q"]), (False, [])])
def test_a_bar_is_shown_on_a_terminal_only(terminal, quiet, scan, model, monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=100, markup=False)
    monkeypatch.setattr("tfnormals.cli.console.talk", console)
    monkeypatch.setattr(
        "tfnormals.cli.console.Timer", lambda _, start: threading.Timer(0.0, start)
    )

    run_cli("predict", scan, "--model", model, *quiet)

    assert ("━" in shown.getvalue()) == (terminal and not quiet)


def test_one_bar_runs_over_all_clouds(scan, kinect, model, monkeypatch):
    told = []

    @contextmanager
    def bar(label, *, shown):
        yield lambda done, total, label: told.append((done / total, label))

    monkeypatch.setattr("tfnormals.cli.predict.progress_bar", bar)
    run_cli("predict", scan, kinect, "--model", model)

    parts = [part for part, _ in told]
    assert parts == sorted(parts)
    assert (parts[0], parts[-1]) == (0, 1)
    assert told[0][1] == "2 clouds"
    assert re.fullmatch(r"2 of 2 clouds, [\d,]+ points/s(, \d\.\d GB)?", told[-1][1])


def test_the_bar_of_one_cloud_tells_its_pace_and_memory(scan, model, monkeypatch):
    told = []

    @contextmanager
    def bar(label, *, shown):
        yield lambda done, total, label: told.append(label)

    monkeypatch.setattr("tfnormals.cli.predict.progress_bar", bar)
    monkeypatch.setattr("tfnormals.cli.tally.most_used", lambda: 1_234_567_890)
    run_cli("predict", scan, "--model", model)

    assert told[0] == str(scan)
    assert all(re.fullmatch(rf"{scan}, [\d,]+ points/s, 1\.2 GB", label) for label in told[1:-1])
    assert len(told) > 5
