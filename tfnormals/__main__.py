"""``python -m tfnormals``."""

from .cli import main

main()
