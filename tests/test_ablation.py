"""The controlled comparison: all variants are one network, and those that should turn with it."""

import json

import pytest
import torch
from ablation_clouds import POSES, cloud, joined, pose_matrix, turned
from ablation_model import FRAMES, MESSAGES, SHARED, WIDTHS, PointNet, Variant
from ablation_results import write_results
from ablation_runs import Cell, Setup, cells, errors, finished, run
from helpers import LAYER

TINY = Setup(seconds=0.0, steps=2, points=200, train_clouds=3, test_clouds=3)

each_frames = pytest.mark.parametrize("frames", FRAMES)


@pytest.fixture(scope="module")
def clouds():
    return [cloud("test", index, TINY.points, torch.float64) for index in range(3)]


def network(frames, messages="vectors + 2s"):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PointNet(Variant(frames, messages)).double().eval()


@pytest.mark.parametrize("messages", MESSAGES)
@pytest.mark.parametrize("frames", ["global", "PCA", "learned O(3)"])
def test_errors_of_equivariant_variants_are_equal_in_all_poses(frames, messages, clouds):
    found = [errors(network(frames, messages), clouds, pose) for pose in POSES]
    for pose in found[1:]:
        assert pose == pytest.approx(found[0], rel=0, abs=1e-6)


def test_errors_of_right_handed_frames_are_equal_but_for_reflections(clouds):
    aligned, z, rotated, mirrored = (
        errors(network("learned SO(3)"), clouds, pose).rmse_deg for pose in POSES
    )
    assert [z, rotated] == pytest.approx([aligned] * 2, rel=0, abs=1e-6)
    assert abs(mirrored - aligned) > 1e-3


@pytest.mark.parametrize("frames", ["identity", "augmented"])
def test_errors_of_plain_variants_depend_on_the_pose(frames, clouds):
    aligned, *others = (errors(network(frames), clouds, pose).rmse_deg for pose in POSES)
    assert all(abs(other - aligned) > 1e-3 for other in others)


@pytest.mark.parametrize("frames", SHARED)
def test_one_frame_for_all_makes_all_messages_the_same(frames, clouds):
    scalars, vectors, tensors = (network(frames, messages) for messages in MESSAGES)
    with torch.no_grad():
        expected = scalars.normals(clouds[0])
        for other in (vectors, tensors):
            torch.testing.assert_close(other.normals(clouds[0]), expected, rtol=0, atol=LAYER)


@each_frames
def test_clouds_of_a_batch_do_not_see_each_other(frames, clouds):
    one = network(frames)
    with torch.no_grad():
        alone = torch.cat([one.normals(each) for each in clouds])
        together = one.normals(joined(clouds))
    torch.testing.assert_close(together, alone, rtol=0, atol=LAYER)


def test_augmentation_is_the_plain_network_on_turned_clouds(clouds):
    one, generator = network("augmented"), torch.Generator().manual_seed(0)
    matrices = one.frames(clouds[0], generator)
    moved = turned(clouds[0], matrices[0])
    with torch.no_grad():
        found, expected = one(clouds[0], matrices), one(moved, one.frames(moved))
    torch.testing.assert_close(found.side @ matrices[0].T, expected.side, rtol=0, atol=LAYER)


@pytest.mark.parametrize("width", WIDTHS)
def test_all_messages_have_as_many_columns(width):
    assert {Variant("PCA", messages).features(width).dim for messages in MESSAGES} == {width}


@pytest.mark.parametrize("frames", ["global", "PCA", "learned O(3)"])
def test_both_hands_are_drawn_in_training(frames, clouds):
    one, generator = network(frames), torch.Generator().manual_seed(0)
    with torch.no_grad():
        hands = {round(float(one.frames(clouds[0], generator)[0].det())) for _ in range(20)}
    assert hands == {1, -1}


@pytest.mark.parametrize("pose", POSES)
def test_poses_are_what_they_are_called(pose):
    matrices = torch.stack([pose_matrix(pose, index) for index in range(8)])
    unit = torch.eye(3, dtype=torch.float64).expand_as(matrices)
    torch.testing.assert_close(matrices @ matrices.mT, unit)
    assert torch.det(matrices).round().unique().tolist() == ([-1, 1] if pose == "O(3)" else [1])
    up = [0.0, 0.0, 1.0]
    assert all((m[2].tolist() == up) == (pose in ("aligned", "z")) for m in matrices)


def test_solids_stand_upright_and_clouds_have_a_graph():
    found = cloud("train", 4, 200)  # a block with grooves: most normals lie along an axis
    assert (found.normals.abs().amax(1) > 0.999).float().mean() > 0.5
    assert [len(level.pos) for level in found.levels] == [200, 50, 17]
    reach = (found.levels[0].pos[found.levels[0].neighbors] - found.levels[0].pos).norm(dim=2)
    torch.testing.assert_close(reach, found.levels[0].edges[..., 0])


def test_cells_are_run_stored_and_found_again(tmp_path):
    some = [Cell(Variant("identity", "scalars"), 0), Cell(Variant("learned O(3)", "vectors"), 0)]
    rows = [run(cell, TINY) for cell in some]
    path = tmp_path / "ablation.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert finished(path, TINY) == dict(zip(some, rows, strict=True))
    assert finished(path, Setup(seconds=1.0)) == {}
    for row in rows:
        assert row["steps"] == 2
        assert 0 < row["poses"]["O(3)"]["rmse_deg"] < 90
    write_results(finished(path, TINY), tmp_path)
    aligned = rows[0]["poses"]["aligned"]["rmse_deg"]
    page = (tmp_path / "ablation_results.md").read_text()
    assert f"| identity | any | {aligned:.2f} ± 0.00 |" in page
    assert (tmp_path / "ablation.png").stat().st_size > 10_000


@pytest.fixture
def one_thread():
    """As the processes of the comparison have; several threads add in any order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_run_is_a_function_of_its_cell():
    cell = Cell(Variant("augmented", "vectors"), 1)
    assert run(cell, TINY)["poses"] == run(cell, TINY)["poses"]


def test_there_are_all_combinations_for_every_seed():
    assert len(set(cells(3))) == 3 * (3 + 3 * 3)
