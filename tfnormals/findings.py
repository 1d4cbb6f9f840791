"""All that a check of equivariance found."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import isnan

from .continuity import JumpRow
from .equivariance import Measured, worst_of
from .local_equivariance import LayerRow, LieRow


@dataclass
class Findings:
    """Grows while an estimator is checked, cloud by cloud.

    Attributes:
        measured: Finite transforms.
        jumps: Tiny perturbations.
        lie: Local equivariance errors.
        layers: Those of the layers of a network.
    """

    measured: list[Measured] = field(default_factory=list)
    jumps: list[JumpRow] = field(default_factory=list)
    lie: list[LieRow] = field(default_factory=list)
    layers: list[LayerRow] = field(default_factory=list)

    @property
    def worst(self) -> Measured:
        """The transform to look at, see ``worst_of``."""
        return worst_of(self.measured)

    @property
    def verdicts(self) -> list[bool]:
        """Whether each check passed."""
        return [
            *(one.row.passed for one in self.measured),
            *(jump.passed for jump in self.jumps),
            *(row.passed for row in self.lie),
            *(layer.passed for layer in self.layers),
        ]

    def records(self) -> Iterator[dict[str, object]]:
        """Every check as flat columns; the key ``check`` tells its kind, NaN becomes None."""
        for one in self.measured:
            yield _record("transform", asdict(one.row))
        for jump in self.jumps:
            yield _record("continuity", asdict(jump))
        for row in self.lie:
            yield _record("lie", asdict(row))
        for layer in self.layers:
            yield _record("layer", asdict(layer))


def _record(check: str, columns: dict[str, object]) -> dict[str, object]:
    known = {
        name: None if isinstance(value, float) and isnan(value) else value
        for name, value in columns.items()
    }
    return {"check": check, **known}
