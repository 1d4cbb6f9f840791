r"""Runs tfnormals and every other tool that is installed on the same clouds, in the same run.

    python benchmarks/rivals.py DATA... [--seconds-limit 60] [--tools Open3D,VTK] [--rows FILE]

DATA are folders as make_benchmark.py writes them. The tools take turns on every cloud and cannot
hang: after --seconds-limit a cloud counts as failed. The tables are markdown, on stdout.

Every tool has the best of some settings (RIVALS in rival_tools.py), chosen on other shapes than it
is measured on: those of ../shared/meshes, of which none is in the benchmark. They were chosen by

    shapes=anny_generated__anny_001,basemesh_cc0__s_coatstand_01,basemesh_cc0__s_deerantler
    shapes=$shapes,gazebo_models__ball_valve,lagrange__cubes_3,soarm100__wrist_roll_so101
    python ../shared/benchmark/make_benchmark.py ../shared/meshes /tmp/validation --points 30000 \
        --variants low,med,scan --shapes $shapes,sweethome__bench,sweethome__cafe_chair
    python benchmarks/rivals.py /tmp/validation --choose

which takes the setting with the fewest failures and then the smallest sum of the unoriented and
the oriented RMSE, the latter flipped once per shape in favour of tools that know no outside.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rival_tables import choice_table, report
from rival_tools import RIVALS, label

from tfnormals.baseline import Tool
from tfnormals.errors import DataError
from tfnormals.evaluation import Row, evaluate_folder

OURS = "tfnormals"


def main() -> None:
    """Prints tables for every folder, or with ``--choose`` one of settings for every tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="+", metavar="DATA")
    parser.add_argument("--seconds-limit", type=float, default=60, help="for a tool on a cloud")
    parser.add_argument("--tools", default=",".join(RIVALS), help="beside tfnormals; all of them")
    parser.add_argument("--model", help="shipped name or path")
    parser.add_argument("--rows", type=Path, help="write a JSON object for every tool and cloud")
    parser.add_argument("--choose", action="store_true", help="try all settings of the tools")
    args = parser.parse_args()
    names = args.tools.split(",")
    if unknown := set(names) - set(RIVALS):
        parser.error(
            f"no tool is called {', '.join(sorted(unknown))}; there are {', '.join(RIVALS)}"
        )
    rows = (choose if args.choose else compare)(names, args)
    if args.rows:
        args.rows.write_text("".join(f"{json.dumps(row.figures())}\n" for row in rows))


def compare(names: Sequence[str], args: argparse.Namespace) -> list[Row]:
    """The tools at their best and tfnormals on every folder."""
    rows = []
    with ExitStack() as stack:
        tools = {OURS: ours(args.model)}
        for name in names:
            tools |= started(stack, name, [RIVALS[name].best], args.seconds_limit)
        for folder in args.data:
            found = evaluate_folder(tools, folder, say_progress)
            print(f"\n## {folder}\n\n{report(found, OURS)}", flush=True)
            rows += found
    return rows


def choose(names: Sequence[str], args: argparse.Namespace) -> list[Row]:
    """Every setting of each tool, one tool after the other."""
    rows = []
    for name in names:
        with ExitStack() as stack:
            tools = started(stack, name, RIVALS[name].settings(), args.seconds_limit)
            found = [
                row
                for folder in args.data
                for row in (evaluate_folder(tools, folder, say_progress) if tools else [])
            ]
        if found:
            print(f"\n## {name}\n\n{choice_table(found)}", flush=True)
        rows += found
    return rows


def started(
    stack: ExitStack, name: str, settings: Sequence[Mapping[str, object]], seconds_limit: float
) -> dict[str, Tool]:
    """The tool at each setting; none, and a line that says why, if it cannot be started."""
    try:
        return {
            label(name, setting): stack.enter_context(RIVALS[name].start(setting, seconds_limit))
            for setting in settings
        }
    except DataError as error:
        print(f"- not measured: {error}", flush=True)
        return {}


def ours(model: str | None) -> Tool:
    """Tfnormals as the command runs it."""
    from tfnormals.cli.memory import keep_freed_memory
    from tfnormals.estimation import estimate
    from tfnormals.pretrained import DEFAULT_MODEL, load_model

    keep_freed_memory()
    network = load_model(model or DEFAULT_MODEL)
    return lambda points: estimate(points, network).normals


def say_progress(done: int, total: int) -> None:
    """A counter on stderr."""
    print(f"\r{done} of {total} clouds", end="\n" if done == total else "", file=sys.stderr)


if __name__ == "__main__":
    main()
