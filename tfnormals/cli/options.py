"""Options that several commands share."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

DEFAULT_MODEL = "outward-v10"
"""As in ``pretrained``, which takes seconds to import."""

ModelOption = Annotated[
    str,
    typer.Option("--model", metavar="NAME|PATH", help="Shipped model, model file or run folder."),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda[:i]", help="Where the network runs.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace files.")]


def usable_device(device: str) -> "torch.device":
    """The torch device that ``--device`` names; there being none is wrong usage."""
    from ..estimation import pick_device  # torch takes seconds to import

    try:
        return pick_device(device)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--device") from error
