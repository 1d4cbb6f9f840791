r"""Times tfnormals and every other tool that is installed on clouds of many sizes and shapes.

    python benchmarks/speed.py                               # 10 000 to 1 000 000 points
    python benchmarks/speed.py --sizes 1e7 --tools '' --repeats 1 --shape-points 0
    python benchmarks/speed.py --plot docs/speed.png

The tools take turns, each in a process of its own that is started before and ended when it takes
longer than --seconds-limit; it then gets no other clouds. Seconds are medians, of the tool alone.
Memory is what the process had at its peak beyond what it had before it got the points (Linux).
The tables are markdown, on stdout; settings of the tools as in rival_tools.py.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from rival_tools import RIVALS
from speed_clouds import ORDINARY, SHAPES, Array

from tfnormals.baseline import SeparateTool, Tool
from tfnormals.cli.memory import keep_freed_memory
from tfnormals.errors import DataError
from tfnormals.pretrained import DEFAULT_MODEL

OURS = "tfnormals"
Start = Callable[[], AbstractContextManager[Tool]]


class Run(NamedTuple):
    """A tool on a cloud."""

    seconds: float
    """Median; NaN where it failed."""
    gigabytes: float


def load_ours(model: str, device: str) -> Tool:
    """Our estimator as the command uses it."""
    from tfnormals.estimation import estimate, pick_device
    from tfnormals.pretrained import load_model

    keep_freed_memory()
    place = pick_device(device)
    network = load_model(model).to(place)
    return lambda points: estimate(points, network, device=place).normals


def main() -> None:
    """Prints a table of sizes and one of shapes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="1e4,1e5,1e6", help="points, of a bumpy torus")
    parser.add_argument("--shape-points", type=float, default=1e5, help="of each shape; 0: none")
    parser.add_argument("--tools", default=",".join(RIVALS), help="beside ours; all of them")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped name or path")
    parser.add_argument("--device", default="cpu", help="of ours: cpu, cuda or cuda:1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds-limit", type=float, default=120, help="for a tool on a cloud")
    parser.add_argument("--plot", type=Path, help="seconds against points, as a picture")
    args = parser.parse_args()
    sizes = [int(float(size)) for size in args.sizes.split(",") if size]
    print(f"{os.cpu_count()} cores, {_processor()}, median of {args.repeats}\n")
    tools = _tools(args)
    by_size = {
        f"{size:,} points": runs(tools, SHAPES[ORDINARY](size), args.repeats) for size in sizes
    }
    print(table(by_size))
    if args.plot:
        _plot(args.plot, sizes, list(by_size.values()))
    if args.shape_points:
        count, tools = int(args.shape_points), _tools(args)
        by_shape = {name: runs(tools, make(count), args.repeats) for name, make in SHAPES.items()}
        ours = {name: row[OURS].seconds for name, row in by_shape.items()}
        slowest = max(ours, key=lambda name: ours[name])
        print(f"\n{count:,} points, by shape\n\n{table(by_shape)}\n")
        print(f"ours: {slowest} takes {ours[slowest] / ours[ORDINARY]:.2f} x {ORDINARY}")


def _tools(args: argparse.Namespace) -> dict[str, Start]:
    """How the tools are started, ours first."""
    ours = partial(
        SeparateTool, OURS, partial(load_ours, args.model, args.device), "", seconds_limit=3600
    )
    rivals = {name: RIVALS[name] for name in args.tools.split(",") if name}
    return {OURS: ours} | {
        name: partial(rival.start, rival.best, args.seconds_limit)
        for name, rival in rivals.items()
    }


def runs(tools: dict[str, Start], points: Array, repeats: int) -> dict[str, Run]:
    """Every tool on a cloud, in turn; those that cannot be started or are too slow leave them."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in tools}
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        started: dict[str, SeparateTool] = {}
        for name in list(tools):
            try:
                tool = stack.enter_context(tools[name]())
            except DataError as error:
                print(error, file=sys.stderr)
                del tools[name]
                continue
            if isinstance(tool, SeparateTool):
                started[name] = tool
        before = {name: _gigabytes(tool, "VmRSS:") for name, tool in started.items()}
        for _ in range(repeats):
            for name in [name for name in started if name not in failures]:
                try:
                    started[name](points)
                except DataError as error:
                    failures[name] = str(error)
                    continue
                seconds = started[name].seconds
                peak = _gigabytes(started[name], "VmHWM:")
                measured[name].append((seconds, peak - before[name]))
    for name, failure in failures.items():
        print(f"{name}, {len(points):,} points: {failure}", file=sys.stderr)
        if "did not finish" in failure:
            del tools[name]
    return {
        name: Run(np.nan, np.nan)
        if name in failures
        else Run(*(median(values) for values in zip(*measured[name], strict=True)))
        for name in started
    }


def _gigabytes(tool: SeparateTool, entry: str) -> float:
    """What the process of a tool has (VmRSS:) or had at its peak (VmHWM:)."""
    status = Path(f"/proc/{tool.pid}/status")
    if not status.exists():
        return np.nan
    lines = status.read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(entry)) / 1e6


def table(runs: Mapping[str, Mapping[str, Run]]) -> str:
    """A row for each cloud: seconds, ratio to ours and memory of every tool."""
    names = list(dict.fromkeys(name for row in runs.values() for name in row))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for cloud, row in runs.items():
        cells = [_cell(row.get(name), row[OURS]) for name in names]
        lines.append(f"| {cloud} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(run: Run | None, ours: Run) -> str:
    if run is None:
        return "-"
    if np.isnan(run.seconds):
        return "failed"
    ratio = "" if run is ours else f", {run.seconds / ours.seconds:.1f} x ours"
    return f"{run.seconds:.2f} s{ratio}, {run.gigabytes:.2f} GB"


def _plot(path: Path, sizes: Sequence[int], runs: Sequence[Mapping[str, Run]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="points", ylabel="seconds", xscale="log", yscale="log")
    for name in dict.fromkeys(name for row in runs for name in row):
        told = [
            (size, row[name].seconds) for size, row in zip(sizes, runs, strict=True) if name in row
        ]
        axes.plot(*zip(*told, strict=True), "o-", label=name, linewidth=3 if name == OURS else 1)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def _processor() -> str:
    """What the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = info.read_text().splitlines()
    return next(line.split(": ")[1] for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    main()
