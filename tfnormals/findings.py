"""All that a check of equivariance found."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

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
        """Every check as flat columns; the key ``check`` tells its kind."""
        for one in self.measured:
            yield {"check": "transform", **asdict(one.row)}
        for jump in self.jumps:
            yield {"check": "continuity", **asdict(jump)}
        for row in self.lie:
            yield {"check": "lie", **asdict(row)}
        for layer in self.layers:
            yield {"check": "layer", **asdict(layer)}
