"""The tables of ``check-equivariance``: a line for each cloud, failures marked."""

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING

from rich.table import Table

from .console import new_table

if TYPE_CHECKING:
    from ..continuity import JumpRow
    from ..equivariance import Row
    from ..local_equivariance import LayerRow, LieRow

MARK = " !"
"""After what is above its tolerance."""


def transform_table(rows: "Sequence[Row]", kinds: Sequence[str]) -> Table:
    """The judged angle of each transform: a line for each cloud and precision."""
    table = new_table(
        ("cloud", "dtype", "angle"), (*(kind.replace(" ", "\n") for kind in kinds), "confidence")
    )
    table.add_column()
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row.cloud, row.dtype), []).append(row)
    for (cloud, dtype), line in lines.items():
        angles = {row.transform: _marked(row.judged_deg, passed=row.passed) for row in line}
        judged = "worst" if dtype == "float64" else "median"
        table.add_row(
            cloud,
            dtype,
            f"{judged} <= {line[0].tolerance_deg:.0e} deg",
            *(angles.get(kind, "refused") for kind in kinds),
            f"{max(row.confidence_worst for row in line):.1e}",
            _verdict(line),
        )
    return table


def jump_table(rows: "Sequence[JumpRow]") -> Table:
    """What a tiny perturbation of each cloud does."""
    table = new_table(
        ("cloud", "moved"), ("by\nsizes", "worst\ndeg", "median\ndeg", "worst in rad\nper size")
    )
    table.add_column()
    for row in rows:
        table.add_row(
            row.cloud,
            row.moved,
            f"{row.perturbation:.0e}",
            _marked(row.worst_deg, passed=row.passed),
            f"{row.median_deg:.1e}",
            f"{row.ratio:.1e}",
            "ambiguous" if row.ambiguous else "ok" if row.passed else "JUMPS",
        )
    return table


def lie_table(rows: "Sequence[LieRow]", steps: Sequence[float]) -> Table:
    """The local equivariance error of each cloud and motion at each step."""
    headings = (*(f"step\n{step:.0e}" for step in steps), "grows as\n1/step^")
    table = new_table(("cloud", "motion"), headings)
    table.add_column()
    for row in rows:
        errors = (_marked(error, passed=row.passed) for error in row.errors)
        verdict = row.verdict if row.passed else row.verdict.upper()
        table.add_row(row.cloud, row.motion, *errors, f"{row.growth:.1f}", verdict)
    return table


def layer_table(rows: "Sequence[LayerRow]") -> Table:
    """The local equivariance error of each layer."""
    table = new_table(("layer",), ("own error", "reaching\nthe answer"))
    table.add_column()
    for row in rows:
        own = _marked(row.own, passed=row.passed)
        table.add_row(row.layer, own, f"{row.reaching:.1e}", "exact" if row.passed else "ERRS")
    return table


def _marked(value: float, *, passed: bool) -> str:
    return f"{value:.1e}" if passed else f"{value:.1e}{MARK}"


def _verdict(line: "Sequence[Row]") -> str:
    if not all(row.input_kept for row in line):
        return "FAILED: changes its input"
    if any(isnan(row.worst_deg) for row in line):
        return "FAILED: not finite"
    if not line[0].passed:
        return "FAILED: not the same twice"
    if not all(row.passed for row in line):
        return "FAILED"
    if any(row.ambiguous for row in line):
        return "ambiguous"
    return "ok, up to sign" if any(row.sign_free for row in line) else "ok"
