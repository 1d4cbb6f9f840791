"""What all commands say and how: data on stdout, everything else on stderr."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import Protocol

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from .. import __version__
from ..errors import TfnormalsError

TABLE_WIDTH = 10_000
"""Columns that a table may have."""

talk = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
"""Where everything but data goes. File names hold brackets and colons, so nothing is markup."""


def say_error(error: TfnormalsError | str) -> None:
    """Prints an error in one line."""
    talk.print(f"tfnormals: {error}")


def write_json(record: Mapping[str, object]) -> None:
    """Prints a record, completed by the version, as one line on stdout.

    Raises:
        TfnormalsError: If stdout cannot take it; a closed pipe stays a ``BrokenPipeError``.
    """
    line = json.dumps({**record, "version": __version__})
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TfnormalsError(f"<stdout>: {reason}; send it elsewhere") from error


def new_table(texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """A table without rows: columns of text by their headings, then columns of numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for heading in texts:
        table.add_column(heading, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_table(table: Table) -> None:
    """Prints a table on stdout, never cut to fit: a narrow terminal wraps its lines."""
    Console(width=TABLE_WIDTH, markup=False, emoji=False, highlight=False).print(table)


class Tell(Protocol):
    """What moves a bar."""

    def __call__(self, done: float, total: float, label: str = ...) -> None:
        """Shows how many of all steps are finished, and perhaps another label."""


@contextmanager
def progress_bar(label: str, *, shown: bool = True) -> Iterator[Tell]:
    """A bar on a terminal for what takes more than a second; it is gone when done.

    Args:
        label: What is being done.
        shown: False for no bar at all.

    Yields:
        What moves it.
    """
    if not (shown and talk.is_terminal):
        yield lambda done, total, label="": None
        return
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}", markup=False)
    bar = Progress(text, *columns, console=talk, transient=True)
    task = bar.add_task(label, total=None)
    late = Timer(1.0, bar.start)
    late.start()
    try:
        yield lambda done, total, label=label: bar.update(
            task, completed=done, total=total, description=label
        )
    finally:
        late.cancel()
        late.join()
        bar.stop()
