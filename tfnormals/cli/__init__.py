"""The command line: ``tfnormals COMMAND``."""

import os
import sys
from typing import Annotated

import typer

from .. import __version__
from ..errors import TfnormalsError
from .check import check_equivariance
from .console import say_error
from .evaluate import evaluate_models
from .memory import keep_freed_memory
from .predict import predict_clouds
from .train import train_network

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("predict", no_args_is_help=True)(predict_clouds)
app.command("train")(train_network)
app.command("evaluate")(evaluate_models)
app.command("check-equivariance")(check_equivariance)


def main(argv: list[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 1 something failed, 2 wrong usage, 130 interrupted.

    Args:
        argv: What follows the program's name; by default that of the process.
    """
    keep_freed_memory()
    # read when torch is loaded: teams of threads that spin slow two commands 3 to 18 times
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(argv, prog_name="tfnormals")
    except TfnormalsError as error:
        say_error(error)
        sys.exit(1)


def _print_version(version: bool | None) -> None:
    if version:
        typer.echo(f"tfnormals {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool | None,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = None,
) -> None:
    """Outward unit normals for 3-D point clouds, from an exactly O(3)-equivariant network."""
