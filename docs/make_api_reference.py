"""Writes the reference of all public names: ``python docs/make_api_reference.py build/api``."""

import sys
from importlib import import_module
from pathlib import Path

import pdoc

MODULES = ("tfnormals", "tfnormals.tensorframes")


def main(folder: Path) -> None:
    """Writes one page for each public module into a folder."""
    for name in MODULES:
        module = import_module(name)
        for public in module.__all__:  # they are imported when first used
            setattr(module, public, getattr(module, public))
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*MODULES, "!tfnormals.tensorframes.[a-z]*$", output_directory=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
