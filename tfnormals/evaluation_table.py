"""The columns in which an evaluation is shown to people."""

from .evaluation import Figures

COLUMNS = {
    "rmse_deg": "unoriented\nRMSE\ndeg",
    "oriented_rmse_deg": "oriented\nRMSE\ndeg",
    "oriented_rmse_flipped_deg": "oriented,\nflipped per\nshape, deg",
    "outward_share": "outward\n\n%",
    "pgp5": "PGP5\n\n%",
    "pgp10": "PGP10\n\n%",
    "median_deg": "median\n\ndeg",
    "cnd_rmse_deg": "CND\n\ndeg",
}
SHARES = {"outward_share", "pgp5", "pgp10"}
CLOUD = ("points", "seconds")
"""What counts and what times the lines of single clouds."""
MEAN = ("clouds", "seconds_per_100k")
"""The same of means."""


def headings(counted: str, timed: str) -> list[str]:
    """The headings, in lines: what is counted, the errors, what is timed."""
    return [counted, *COLUMNS.values(), timed.replace("_per_", "\nper\n")]


def cells(line: Figures, counted: str, timed: str) -> list[str]:
    """What is below the headings for one line; a dash where there is no figure."""
    count = f"{line[counted]}, {line['failed']} failed" if line.get("failed") else line[counted]
    return [str(count), *(figure_text(line, name) for name in (*COLUMNS, timed))]


def figure_text(line: Figures, name: str) -> str:
    """One figure of a line; a dash where there is none."""
    value = line[name]
    if not isinstance(value, float):
        return "-"
    return f"{100 * value:.1f}" if name in SHARES else f"{value:.2f}"
