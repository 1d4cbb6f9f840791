"""Collects what is shown of each evaluated cloud, and writes the page."""

from collections.abc import Sequence
from pathlib import Path

from .errors import CloudError, DataError
from .evaluation import Answers, Row, summary
from .evaluation_curves import error_shares
from .evaluation_page import Entry, page
from .evaluation_pictures import cloud_pictures, side_for
from .pictures import write_whole


class EvaluationReport:
    """The page of an evaluation; of each cloud it keeps only small pictures and its errors.

    Give ``add`` to ``evaluate_folder``, and what that returns to ``write``.
    """

    def __init__(self, clouds: int, estimators: int) -> None:
        """Prepares a page.

        Args:
            clouds: How many will be added: the more there are, the smaller are the pictures.
            estimators: How many there are.
        """
        self._side = side_for(clouds * (1 + 2 * estimators))
        self._entries: list[Entry] = []

    def add(self, answers: Answers) -> None:
        """Draws a cloud and counts its errors."""
        cloud, truth, normals = answers
        shares = {
            name: error_shares(one[truth.scored], truth.normals[truth.scored])
            for name, one in normals.items()
        }
        try:
            pictures = cloud_pictures(answers, self._side)
        except CloudError:  # a picture takes more points than an error does
            pictures = None
        self._entries.append(Entry(cloud.name, pictures, shares, []))

    def write(self, path: Path, title: str, rows: Sequence[Row]) -> None:
        """Writes the page.

        Args:
            path: The file; its folder is made where it is missing.
            title: What was evaluated.
            rows: Those of the clouds that were added, in the same order.

        Raises:
            DataError: If it cannot be written.
        """
        variants: dict[str, list[Entry]] = {}
        each = len(rows) // len(self._entries)
        for number, entry in enumerate(self._entries):
            own = rows[number * each : (number + 1) * each]
            lines = [row.figures() for row in own]
            variants.setdefault(own[0].variant, []).append(entry._replace(lines=lines))
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise DataError(f"{path.parent}: cannot be made ({error.strerror})") from error
        write_whole(path, page(title, summary(rows), variants).encode())
