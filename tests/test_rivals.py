import json
import stat
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import rivals
from helpers import sphere
from rival_tables import choice_table, report
from rival_tools import RIVALS, Rival, cloudcompare, cloudcompare_normals, in_order

from tfnormals.errors import DataError
from tfnormals.evaluation import Row
from tfnormals.metrics import NormalMetrics, unoriented_angle_deg

BALL, _ = sphere(2000, np.random.default_rng(0))
SETTING = {"model": "LS", "k": 10, "spanning": 6}


@pytest.mark.parametrize("name", RIVALS)
def test_an_installed_tool_gives_the_points_of_a_ball_radial_normals_of_one_side(name):
    rival = RIVALS[name]
    with ExitStack() as stack:
        try:
            normals_of = stack.enter_context(rival.start(rival.best, 60))
        except DataError as missing:
            pytest.skip(f"no {name} here: {missing}")
        normals = normals_of(BALL)

    assert unoriented_angle_deg(normals, BALL).max() < 15
    assert abs(np.sign((normals * BALL).sum(1)).sum()) == len(BALL)


@pytest.mark.parametrize("name", RIVALS)
def test_the_best_setting_was_tried(name):
    assert RIVALS[name].best in RIVALS[name].settings()


def test_settings_are_all_combinations():
    rival = Rival(start=None, grid={"k": (1, 2), "fit": ("jet", "pca")}, best={})

    assert [tuple(setting.values()) for setting in rival.settings()] == [
        (1, "jet"),
        (1, "pca"),
        (2, "jet"),
        (2, "pca"),
    ]


def test_reordered_rows_go_back_to_their_points():
    normals = in_order([2, 0], np.array([[0, 0, 1.0], [1, 0, 0]]), 3)

    assert normals[[0, 2]].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert np.isnan(normals[1]).all()


WRITTEN = np.hstack([BALL, -BALL])
WRONG = {
    "reordered": (WRITTEN[::-1], "changed the order"),
    "incomplete": (WRITTEN[1:], r"\(1999, 6\) numbers for 2000 points"),
    "without normals": (WRITTEN[:, :3], r"\(2000, 3\) numbers"),
    "without directions": (np.hstack([BALL, 0 * BALL]), "no normal that has a direction"),
}


def test_rounded_rows_of_cloudcompare_are_the_points():
    assert np.array_equal(
        cloudcompare_normals(WRITTEN.astype(np.float32), BALL), -BALL.astype("f4")
    )


@pytest.mark.parametrize("missing", [0, np.nan])
def test_points_that_cloudcompare_gives_no_normal_get_that_of_their_neighbour(missing):
    table = WRITTEN.copy()
    table[7, 3:] = missing
    nearest = np.linalg.norm(BALL - BALL[7], axis=1).argsort()[1]

    normals = cloudcompare_normals(table, BALL)

    assert np.array_equal(normals[7], -BALL[nearest])
    assert np.array_equal(np.delete(normals, 7, 0), np.delete(-BALL, 7, 0))


@pytest.mark.parametrize("case", WRONG)
def test_other_rows_of_cloudcompare_are_refused(case):
    table, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        cloudcompare_normals(table, BALL)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a Python script on the PATH as CloudCompare."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(body):
        path = tmp_path / "CloudCompare"
        path.write_text(f"#!{sys.executable}\nimport sys, time\nimport numpy as np\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return write


INWARDS = """
arguments = sys.argv
points = np.loadtxt(arguments[arguments.index("-O") + 1])
np.savetxt(arguments[-1], np.hstack([points, -points]))
sys.exit(arguments[arguments.index("-ORIENT_NORMS_MST") + 1] != "6")
"""


def test_cloudcompare_is_run_on_a_file_and_its_answer_read(program):
    program(INWARDS)
    with cloudcompare(SETTING, 60) as tool:
        assert np.abs(tool(BALL) + BALL).max() < 1e-8


def test_a_program_that_hangs_is_ended(program):
    program("time.sleep(100)")
    with (
        cloudcompare(SETTING, 0.5) as tool,
        pytest.raises(DataError, match=r"did not finish in 0\.5 s"),
    ):
        tool(BALL)


def test_a_program_that_writes_nothing_is_quoted(program):
    program("print('opening'); print('not enough memory'); sys.exit(3)")
    with (
        cloudcompare(SETTING, 60) as tool,
        pytest.raises(DataError, match=r"wrote no file \(exit code 3\): not enough memory$"),
    ):
        tool(BALL)


@pytest.mark.usefixtures("program")
def test_a_missing_program_says_what_to_install():
    with pytest.raises(DataError, match="apt install cloudcompare"), cloudcompare(SETTING, 60):
        pass


def row(tool, variant, oriented, seconds=1.0):
    metrics = oriented and NormalMetrics(9, 2 * oriented, oriented, 0.5, 0.1, 0.2, 4)
    return Row(tool, "cup", variant, 1000, seconds, metrics, None if metrics else "hung")


def cells(text, start):
    """The cells of the first line that starts so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start} |"))
    return line.strip("| ").split(" | ")


ROWS = [
    *(row("ours", variant, 20.0) for variant in ("none", "low", "med")),
    *(row("theirs", "none", 30.0, seconds=2), row("theirs", "low", None, seconds=60)),
    row("theirs", "med", 40.0, seconds=3),
]


def test_the_report_has_a_line_for_each_variant_and_one_for_the_average():
    text = report(ROWS, "ours")

    assert cells(text, "theirs | none")[2:6] == ["1", "0", "9.00", "60.00"]
    assert cells(text, "theirs | low")[2:6] == ["1", "1", "-", "-"]
    assert cells(text, "theirs | average")[2:6] == ["3", "1", "9.00", "70.00"]


def test_the_report_compares_on_the_clouds_that_nobody_failed_on():
    text = report(ROWS, "ours").split("nobody failed", 1)[1]

    assert cells(text, "ours | average")[2:4] == ["2", "0"]
    assert cells(text, "theirs | average")[2:4] == ["2", "0"]


def test_the_report_gives_medians_of_seconds_and_of_their_ratio():
    assert cells(report(ROWS, "ours"), "theirs | 2 of 3")[2:] == ["3.00", "3.00"]


def test_the_report_names_shares_by_shape_and_what_failed():
    text = report(ROWS, "ours")

    assert cells(text, "shape (none / low / med)")[1:] == ["ours", "theirs"]
    assert cells(text, "cup")[1:] == ["50.0 / 50.0 / 50.0", "50.0 / - / 50.0"]
    assert text.endswith("- theirs on cup, low: hung")


def test_the_best_setting_comes_first_and_failures_weigh_most():
    good = row("good", "none", 9)
    inside_out = replace(good.metrics, oriented_rmse_deg=170)
    turned = replace(good, estimator="turned", metrics=inside_out)

    text = choice_table([row("fails", "none", None), row("bad", "none", 90), turned, good])

    names = [line.split()[1] for line in text.splitlines()[2:]]
    assert names == ["good", "turned", "bad", "fails"]


@pytest.fixture
def balls(tmp_path):
    for suffix in (".xyz", ".normals"):
        np.savetxt(tmp_path / f"ball{suffix}", BALL[:300])
    (tmp_path / "testset_no_noise.txt").write_text("ball\n")
    return tmp_path


def fake_rivals(setting, seconds_limit):
    return nullcontext(lambda points: points * setting["sign"])


def missing_rival(setting, seconds_limit):
    raise DataError("lost: cannot be imported; pip install lost")


@pytest.fixture
def two_rivals(monkeypatch):
    two = {
        "Radial": Rival(start=fake_rivals, grid={"sign": (-1, 1)}, best={"sign": -1}),
        "Lost": Rival(start=missing_rival, grid={"k": (1,)}, best={"k": 1}),
    }
    monkeypatch.setattr(rivals, "RIVALS", two)


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["rivals.py", *map(str, arguments)])
    rivals.main()
    return capsys.readouterr().out


@pytest.mark.usefixtures("two_rivals")
def test_a_tool_that_is_missing_is_listed_and_the_others_are_measured(
    balls, model, monkeypatch, capsys
):
    out = run(monkeypatch, capsys, balls, "--model", model, "--rows", balls / "rows.jsonl")

    assert "- not measured: lost: cannot be imported; pip install lost" in out
    assert cells(out, "Radial (sign -1) | no_noise")[5] == "180.00"
    written = [json.loads(line) for line in (balls / "rows.jsonl").read_text().splitlines()]
    assert [one["estimator"] for one in written] == ["tfnormals", "Radial (sign -1)"]


@pytest.mark.usefixtures("two_rivals")
def test_choosing_tries_every_setting(balls, monkeypatch, capsys):
    out = run(monkeypatch, capsys, balls, "--choose")

    assert cells(out, "Radial (sign 1) | average")[5] == "0.00"
    assert cells(out, "Radial (sign -1) | average")[5] == "180.00"
    assert "tfnormals" not in out.replace(str(balls), "")


@pytest.mark.usefixtures("two_rivals")
def test_an_unknown_tool_is_refused_with_the_known_ones(balls, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, balls, "--tools", "Radial,Ball")
    assert "no tool is called Ball; there are Radial, Lost" in capsys.readouterr().err
