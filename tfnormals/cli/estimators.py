"""What ``--model`` of ``check-equivariance`` names: a network, or anybody's function."""

import re
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..estimators import Estimator
    from ..geometry import Array
    from ..network import TensorFramesPointNet

FUNCTION = re.compile(r"([\w.]+):([\w.]+)")
ADVICE = "give MODULE:CALLABLE of this folder or of an installed package"


class Subject(NamedTuple):
    """What is checked."""

    estimators: "list[Estimator]"
    """The most precise one first."""
    network: "TensorFramesPointNet | None"
    """None for a function, whose inside is unknown."""


def load_subject(model: str) -> Subject:
    """A shipped name, the path of a model, or ``module:callable``.

    Raises:
        ModelError: If there is no such thing, or it cannot be called.
    """
    named = FUNCTION.fullmatch(model)
    if named and not Path(model).exists():
        function = _imported(*named.groups())
        from ..estimators import function_estimator

        return Subject([function_estimator(function, model)], None)
    from ..estimators import network_estimators
    from ..pretrained import load_model

    network = load_model(model)
    return Subject(network_estimators(network), network)


def _imported(module: str, name: str) -> "Callable[[Array], object]":
    """A function, or an object of a class that can be called; this folder comes first."""
    sys.path.insert(0, "")  # as for python -m, which the installed command is not
    try:
        home = import_module(module)
    except ImportError as error:
        raise ModelError(f"cannot import '{module}' ({error}); {ADVICE}") from error
    finally:
        sys.path.remove("")
    try:
        found = attrgetter(name)(home)
    except AttributeError as error:
        raise ModelError(f"{error}; {ADVICE}") from error
    if isinstance(found, type):
        try:
            found = found()
        except TypeError as error:
            raise ModelError(
                f"{module}:{name} is a class that needs arguments ({error}); name a function"
            ) from error
    if not callable(found):
        raise ModelError(
            f"{module}:{name} is {type(found).__name__}, not callable; name a function"
        )
    return found
