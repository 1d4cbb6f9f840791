"""``tfnormals train --preview``: what training would see, without training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .console import progress_bar, talk

if TYPE_CHECKING:
    from ..data.sources import Source
    from ..training import TrainingConfig


def preview_training(
    folder: Path, config: "TrainingConfig", sources: Sequence["Source"], count: int
) -> None:
    """Writes the first clouds that a run with this configuration would learn from."""
    from ..data.batches import TrainingBatches
    from ..data.preview import write_preview

    batches = TrainingBatches(sources, config.batch_points, config.seed)
    with progress_bar("drawing clouds") as on_progress:
        sheet = write_preview(batches, count, folder, on_progress)
    talk.print(f"{folder}: {count} training clouds as PLY; picture {sheet}")
