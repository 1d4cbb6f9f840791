import numpy as np
import pytest
import trimesh

from tfnormals.data.meshes import find_meshes, load_surface, load_surfaces
from tfnormals.errors import DataError

FORMATS = ["ply", "obj", "off", "stl"]


def write_box(path, change=lambda faces: faces):
    """A box whose faces were changed, in the format of the path's suffix."""
    box = trimesh.creation.box([1, 2, 3])
    trimesh.Trimesh(box.vertices, change(box.faces.copy()), process=False).export(path)
    return path


def without_one_face(faces):
    return faces[1:]


def with_one_turned_face(faces):
    faces[0] = faces[0, ::-1]
    return faces


def inside_out(faces):
    return faces[:, ::-1]


def volume(surface):
    a, b, c = (surface.vertices[surface.faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_closed_box(tmp_path, suffix):
    surface = load_surface(write_box(tmp_path / f"crate.{suffix}"))
    assert surface.name == "crate"
    assert surface.vertices.shape == (8, 3)
    assert surface.faces.shape == (12, 3)
    assert volume(surface) == pytest.approx(6)


def test_relative_corners_of_a_streamed_obj_are_read(tmp_path):
    box = trimesh.creation.box([1, 2, 3])
    lines = []
    for corners in box.triangles:
        lines += ["o part", *(f"v {x} {y} {z}" for x, y, z in corners), "f -3 -2 -1"]
    (tmp_path / "crate.obj").write_text("\n".join(lines))
    surface = load_surface(tmp_path / "crate.obj")
    assert surface.vertices.shape == (8, 3)
    assert volume(surface) == pytest.approx(6)


def write_prism(path, corner):
    """A prism of five sides: two pentagons and five quadrilaterals."""
    angles = 2 * np.pi * np.arange(5) / 5
    rim = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = [(x, y, z) for z in (0, 1) for x, y in rim]
    sides = [[i, (i + 1) % 5, 5 + (i + 1) % 5, 5 + i] for i in range(5)]
    faces = [[4, 3, 2, 1, 0], [5, 6, 7, 8, 9], *sides]
    obj = path.suffix == ".obj"
    lines = ["vt 0 0"] if obj else ["OFF", f"{len(points)} {len(faces)} 0"]
    lines += [("v " if obj else "") + " ".join(map(str, point)) for point in points]
    for face in faces:
        lines.append(" ".join([f"{'f' if obj else len(face)}", *map(corner, face)]))
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("name", "corner"),
    [("a.obj", lambda i: f"{i + 1}/1/1"), ("b.obj", lambda i: f"{i - 10}//1"), ("c.off", str)],
)
def test_faces_of_many_sizes_are_read(tmp_path, name, corner):
    surface = load_surface(write_prism(tmp_path / name, corner))
    assert surface.faces.shape == (16, 3)
    assert volume(surface) == pytest.approx(5 / 2 * np.sin(2 * np.pi / 5))


def test_arrays_are_plain_and_of_full_precision(tmp_path):
    surface = load_surface(write_box(tmp_path / "crate.ply"))
    assert type(surface.vertices) is type(surface.faces) is np.ndarray
    assert surface.vertices.dtype == np.float64
    assert surface.faces.dtype == np.int64


def test_inside_out_mesh_is_turned_outward(tmp_path):
    assert volume(load_surface(write_box(tmp_path / "crate.ply", inside_out))) > 0


def test_meshes_of_a_folder_are_found_in_order(tmp_path):
    for name in ("b.PLY", "a.stl", "c.off", "d.obj", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_meshes(tmp_path)] == ["a.stl", "b.PLY", "c.off", "d.obj"]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: not a folder"):
        find_meshes(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "reason"),
    [(without_one_face, "not watertight"), (with_one_turned_face, "not consistently wound")],
)
def test_unusable_mesh_is_named_with_the_reason(tmp_path, change, reason):
    path = write_box(tmp_path / "bad.ply", change)
    with pytest.raises(DataError, match=reason) as caught:
        load_surface(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("content", [b"", b"hello world\n", b"ply\nformat ascii 1.0\n"])
def test_damaged_file_is_named(tmp_path, suffix, content):
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_surface(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_file_cut_short_is_named(tmp_path, suffix, share):
    path = write_box(tmp_path / f"bad.{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=f"bad.{suffix}: "):
        load_surface(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone.ply: "):
        load_surface(tmp_path / "gone.ply")


def test_point_cloud_is_not_a_surface(tmp_path):
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "cloud.ply")
    with pytest.raises(DataError, match="no faces"):
        load_surface(tmp_path / "cloud.ply")


def test_usable_meshes_are_loaded_and_others_listed(tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    write_box(good / "a.ply")
    write_box(bad / "b.stl", without_one_face)
    write_box(bad / "c.obj")
    progress = []
    surfaces, skipped = load_surfaces([good, bad], lambda *step: progress.append(step))
    assert [surface.name for surface in surfaces] == ["a", "c"]
    assert [path for path, _ in skipped] == [bad / "b.stl"]
    assert skipped[0][1].startswith("not watertight")
    assert progress == [(1, 3), (2, 3), (3, 3)]
