"""What `predict` does with bad input: message, exit code, and nothing left behind."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cloud_files import pcd, ply, vertices
from helpers import plane, run_cli, sphere, torus
from las_files import las, patched

from tfnormals.clouds import read_cloud

BALL = sphere(200, np.random.default_rng(0))[0]
TORUS = torus(200, np.random.default_rng(0))[0]
FEW = "9 usable points; at least 17 are needed"


def table(points):
    rows = vertices(len(points))
    for place, axis in enumerate("xyz"):
        rows[axis] = points[:, place]
    return rows


def text(points):
    return "\n".join(" ".join(map(str, row)) for row in points).encode()


def promising(data, count):
    return data.replace(b"200", str(count).encode())


BAD = {
    "empty.ply": (b"", "an empty file; get a complete one"),
    "blank.xyz": (b"\n\n", "no points in it"),
    "cut.ply": (ply(table(BALL))[:-50], "the header promises 200 points, 195 are there"),
    "cut.pcd": (pcd(table(BALL))[:-50], "the header promises 200 points, 195 are there"),
    "cut_head.ply": (ply(table(BALL))[:60], "the header has no end_header line"),
    "cut_head.pcd": (pcd(table(BALL))[:90], "the header has no DATA line"),
    "huge.ply": (promising(ply(table(BALL)), 10**12), "promises 1000000000000 points, 200 are"),
    "huge_text.ply": (promising(ply(table(BALL), "ascii"), 10**12), "promises 1000000000000"),
    "huge.pcd": (promising(pcd(table(BALL)), 10**12), "promises 1000000000000 points, 200 are"),
    "really_ply.pcd": (ply(table(BALL)), "the content is PLY, not PCD"),
    "really_text.ply": (text(BALL), "not a PLY file"),
    "scan.e57": (b"ASTM-E57", "cannot be read as E57"),
    "cut.stl": (b"solid\nfacet", "no vertices in it"),
    "cut.obj": (b"v 1 2\n", "a vertex of less than three numbers"),
    "cut.las": (las(n=200)[:-50], "the header promises 200 points, 198 are there"),
    "cut.laz": (las(n=200, laz=True)[:-50], "its points are cut off; get a complete file"),
    "huge.las": (patched(las(), 247, "<Q", 10**12), "promises 1000000000000 points, 40 are there"),
    "huge.laz": (patched(las(laz=True), 247, "<Q", 10**12), "promises 1000000000000 points, at"),
    "really_laz.las": (las(laz=True), "the content is LAZ, not LAS"),
    "words.xyz": (b"1 2 3\n4 five 6\n", "five"),
    "few.xyz": (text(BALL[:9]), FEW),
    "few_numbers.xyz": (text(np.vstack([BALL[:9], np.full((40, 3), np.nan)])), FEW),
    "equal.xyz": (text(np.ones((50, 3))), "all 50 points are equal"),
    "line.xyz": (text(np.outer(np.arange(50), [1, 2, 3])), "all points lie on one line"),
    "copies.xyz": (text(np.tile(BALL[:9], (9, 1))), "9 distinct points; at least 17 are needed"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ball(folder):
    """A good cloud in the working folder."""
    (folder / "ball.ply").write_bytes(ply(table(BALL)))
    return "ball.ply"


def files():
    return sorted(path.name for path in Path().iterdir())


def raising(error):
    def stop(*_, **__):
        raise error

    return stop


@pytest.mark.parametrize("name", BAD)
def test_a_bad_cloud_is_named_and_explained(name, folder, model, capsys):
    data, reason = BAD[name]
    (folder / name).write_bytes(data)

    assert run_cli("predict", name, "--model", model) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"tfnormals: {name}: ")
    assert reason in err
    assert err.count("\n") == 1
    assert files() == [name]


@pytest.mark.parametrize("name", ["missing.ply", "missing"])
def test_a_missing_file(name, folder, capsys):
    assert run_cli("predict", name) == 1
    assert f"{name}: no such file; check the path" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["scans.ply", "scans", "."])
def test_a_folder(name, folder, capsys):
    (folder / name).mkdir(exist_ok=True)

    assert run_cli("predict", name) == 1
    assert f"{name}: is a folder; name a cloud file" in capsys.readouterr().err


def test_an_unreadable_file(ball, monkeypatch, capsys):
    denied = raising(PermissionError(errno.EACCES, "denied"))
    monkeypatch.setattr("tfnormals.clouds.files.read_data", denied)

    assert run_cli("predict", ball) == 1
    assert "ball.ply: permission denied" in capsys.readouterr().err


def test_a_plane_gets_normals_without_a_known_side(folder, model, capsys):
    (folder / "flat.xyz").write_bytes(text(plane(200, np.random.default_rng(0))[0]))

    assert run_cli("predict", "flat.xyz", "--model", model) == 0

    assert "; all points lie on one plane, so the side is unknown" in capsys.readouterr().err
    result = np.loadtxt("flat.normals.xyz")
    np.testing.assert_allclose(np.linalg.norm(result[:, 3:6], axis=1), 1, atol=1e-6)
    assert (result[:, 6] == 0).all()


def test_a_symmetric_cloud_is_told(folder, model, capsys):
    (folder / "cross.xyz").write_bytes(text(np.vstack([TORUS, -TORUS])))

    assert run_cli("predict", "cross.xyz", "--model", model) == 0
    assert "; the cloud is symmetric, so a turned copy may get other" in capsys.readouterr().err


def test_rows_that_are_not_finite_stay_in_place(folder, model, capsys):
    points = TORUS.copy()
    points[3, 1], points[7, 0], points[199, 2] = np.nan, np.inf, -np.inf
    (folder / "holes.ply").write_bytes(ply(table(points)))

    assert run_cli("predict", "holes.ply", "--model", model) == 0

    assert "; 3 not finite, given NaN" in capsys.readouterr().err
    cloud = read_cloud("holes.normals.ply")
    assert np.flatnonzero(np.isnan(cloud.normals).any(1)).tolist() == [3, 7, 199]
    np.testing.assert_array_equal(cloud.points, table(points)[["x", "y", "z"]].tolist())


def test_duplicates_are_fine(folder, model):
    (folder / "twice.xyz").write_bytes(text(np.vstack([TORUS, TORUS])))

    assert run_cli("predict", "twice.xyz", "--model", model) == 0

    result = np.loadtxt("twice.normals.xyz")
    np.testing.assert_array_equal(result[:200], result[200:])


@pytest.mark.parametrize("arguments", [["ball.ply"], ["nope.ply", "ball.ply"]])
def test_an_existing_output_is_refused_before_computing(ball, arguments, monkeypatch, capsys):
    Path("ball.normals.ply").write_text("precious")
    monkeypatch.setattr("tfnormals.clouds.read_cloud", raising(AssertionError("too late")))

    assert run_cli("predict", *arguments) == 1

    told = "tfnormals: ball.normals.ply: exists already; --overwrite replaces it\n"
    assert capsys.readouterr().err == told
    assert Path("ball.normals.ply").read_text() == "precious"


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        ("there.png", "there.png: exists already; --overwrite replaces it"),
        ("no/there.png", "no folder no; create it first"),
        ("folder.png", "folder.png: not a file; name a new one"),
    ],
)
def test_a_preview_is_refused_before_computing(picture, reason, ball, monkeypatch, capsys):
    Path("there.png").touch()
    Path("folder.png").mkdir()
    monkeypatch.setattr("tfnormals.clouds.read_cloud", raising(AssertionError("too late")))

    assert run_cli("predict", ball, "--preview", picture) == 1

    assert reason in capsys.readouterr().err
    assert files() == ["ball.ply", "folder.png", "there.png"]


def test_a_bad_cloud_leaves_no_preview(folder, model):
    (folder / "few.xyz").write_bytes(text(BALL[:9]))

    assert run_cli("predict", "few.xyz", "--preview", "few.png", "--model", model) == 1
    assert files() == ["few.xyz"]


def test_the_input_is_not_replaced_by_default(ball, capsys):
    before = Path(ball).read_bytes()

    assert run_cli("predict", ball, "-o", ".") == 1

    assert "ball.ply: exists already" in capsys.readouterr().err
    assert Path(ball).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.ply", "b.ply", "-o", "c.ply"], "c.ply is no folder; several clouds need"),
        (["a.ply", "x/a.ply", "-o", "out"], "a.ply and x/a.ply would both become out/a.ply"),
        (["a.ply", "a.ply"], "a.ply and a.ply would both become a.normals.ply"),
        (["a.ply", "a.normals.ply", "--overwrite"], "a.normals.ply, which is an input as well"),
        (["a.ply", "a.normals.ply"], "leave that out, or give another folder"),
        (["a.ply", "b.ply", "-o", "-"], "only one cloud can go to stdout"),
        (["-", "b.ply"], "only one cloud can go to stdout"),
        (["-", "-o", "out"], "stdin has no name"),
        (["a.ply", "-o", "new/"], "new is no folder; create it first"),
        (["a.ply", "-o", "ball.ply/"], "ball.ply is no folder; create it first"),
        (["a.ply", "b.ply", "-o", "new/"], "new is no folder; create it first"),
        (["-", "--json"], "stdout takes the cloud"),
        (["a.ply", "--viewpoint", "0", "0", "inf"], "not finite"),
        (["a.ply", "--viewpoint", "0", "0", "1", "--orient", "none"], "no use with --orient none"),
        (["a.ply", "--orient", "up"], "up"),
        (["a.ply", "--toward", "up"], "'up' is no direction; give +x, -x, +y, -y, +z, -z or X,Y,"),
        (["a.ply", "--orient", "toward"], "toward what? give --toward +z"),
        (["a.ply", "--toward", "0,0,0"], "'0,0,0' is no direction"),
        (["a.ply", "--toward", "0,1"], "'0,1' is no direction"),
        (["a.ply", "--toward", "0 nan 1"], "'0 nan 1' is no direction"),
        (["a.ply", "--toward", "+z", "--orient", "viewpoint"], "no use with --orient viewpoint"),
        (["a.ply", "--toward", "+z", "--viewpoint", "0", "0", "1"], "of no use with --toward"),
        (["a.ply", "--toward", "+z", "--sensor-columns", "a", "b", "c"], "no use with --sensor-c"),
        (["a.ply", "--sensor-columns", "a", "b", "c", "--orient", "outward"], "no use with --ori"),
        (["a.ply", "--sensor-columns", "a", "b", "a"], "names a column twice"),
        (["a.ply", "--format", "pts"], "pts"),
        (["a.ply", "b.ply", "--preview", "c.png"], "draws one cloud only"),
        (["a.ply", "--preview", "c.jpg"], "'c.jpg' does not end in .png"),
        (["a.ply", "--preview", "-"], "'-' does not end in .png"),
        (["ball.ply", "--device", "gpu"], "no device 'gpu' here; available: auto, cpu"),
    ],
)
def test_wrong_usage(ball, arguments, reason, model, capsys):
    Path("out").mkdir()

    assert run_cli("predict", "--model", model, *arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert files() == ["ball.ply", "out"]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("ball.pcd", "ball.pcd: it is written as PLY; name the output ball.ply"),
        ("none/ball.ply", "none/ball.ply: no folder none; create it first"),
    ],
)
def test_an_output_that_cannot_be(ball, output, reason, model, capsys):
    assert run_cli("predict", ball, "-o", output, "--model", model) == 1

    assert reason in capsys.readouterr().err
    assert files() == ["ball.ply"]


@pytest.mark.parametrize("loop", ["loop.ply", "out/loop.ply"])
def test_a_circular_link_fails_alone(ball, loop, model, capsys):
    Path("out").mkdir()
    Path(loop).symlink_to("loop.ply")
    if loop != "loop.ply":
        Path("loop.ply").write_bytes(Path(ball).read_bytes())

    assert run_cli("predict", "loop.ply", ball, "-o", "out", "--model", model) == 1

    first, *others = capsys.readouterr().err.splitlines()
    assert first.startswith(f"tfnormals: {Path(loop)}: ")
    assert "link" in first
    assert others[-1] == "tfnormals: 1 of 2 clouds failed"
    assert read_cloud("out/ball.ply").normals is not None


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("output", ["pipe.ply", "/dev/null", "/dev/stdout"])
def test_an_output_that_is_no_regular_file(ball, output, options, monkeypatch, capsys):
    os.mkfifo("pipe.ply")
    monkeypatch.setattr("tfnormals.clouds.read_cloud", raising(AssertionError("too late")))

    assert run_cli("predict", ball, "-o", output, *options) == 1

    told = f"tfnormals: {output}: not a regular file; name another --output, or - for stdout\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("arguments", [["-"], ["-", "-o", "out.ply"]])
def test_a_closed_stdin(arguments, folder, model, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", None)

    assert run_cli("predict", *arguments, "--model", model) == 1
    assert capsys.readouterr().err == "tfnormals: <stdin>: closed; open it, or name a file\n"


def test_a_closed_stdout_is_told_before_computing(ball, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("tfnormals.estimation.estimate", raising(AssertionError("too late")))

    assert run_cli("predict", ball, "-o", "-") == 1
    assert capsys.readouterr().err == "tfnormals: <stdout>: closed; open it, or name a file\n"


def test_a_folder_without_write_permission_is_refused_before_computing(ball, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    monkeypatch.setattr("tfnormals.clouds.read_cloud", raising(AssertionError("too late")))

    assert run_cli("predict", ball) == 1
    assert "ball.normals.ply: no permission to write there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.EACCES, "permission denied"), (errno.ENOSPC, "the disk is full")]
)
def test_a_disk_that_takes_nothing(ball, code, reason, model, monkeypatch, capsys):
    monkeypatch.setattr(Path, "replace", raising(OSError(code, os.strerror(code))))

    assert run_cli("predict", ball, "--model", model) == 1

    assert f"ball.normals.ply: {reason}" in capsys.readouterr().err
    assert files() == ["ball.ply"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["-o", "-"], "<stdout>: the disk is full"), (["--json"], "<stdout>: no space left on")],
)
def test_a_full_disk_behind_stdout(ball, arguments, reason, model, monkeypatch, capsys):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    buffer = SimpleNamespace(name="<stdout>", write=raising(full))
    stdout = SimpleNamespace(buffer=buffer, write=raising(full), flush=raising(full))
    monkeypatch.setattr("sys.stdout", stdout)

    assert run_cli("predict", ball, "--model", model, *arguments) == 1
    assert f"tfnormals: {reason}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "moment", ["tfnormals.clouds.read_cloud", "tfnormals.estimation.estimate", "os.replace"]
)
def test_an_interrupt_leaves_nothing_partial(ball, moment, model, monkeypatch, capsys):
    monkeypatch.setattr(moment, raising(KeyboardInterrupt()))

    assert run_cli("predict", ball, "--model", model) == 130

    assert capsys.readouterr() == ("", "")
    assert files() == ["ball.ply"]


def test_an_unknown_model(ball, capsys):
    assert run_cli("predict", ball, "--model", "tiny") == 1

    assert "unknown model 'tiny'; available: " in capsys.readouterr().err
    assert files() == ["ball.ply"]


@pytest.mark.parametrize("damage", ["cut", "noise", "pickle"])
def test_a_damaged_model(ball, damage, model, capsys):
    data = {"cut": model.read_bytes()[:5000], "noise": bytes(999), "pickle": b"\x80\x04N."}[damage]
    Path("bad.safetensors").write_bytes(data)

    assert run_cli("predict", ball, "--model", "bad.safetensors") == 1

    err = capsys.readouterr().err
    assert err.startswith("tfnormals: bad.safetensors: not a readable model")
    assert files() == ["bad.safetensors", "ball.ply"]
