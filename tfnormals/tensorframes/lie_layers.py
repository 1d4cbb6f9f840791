"""Local equivariance error of each layer of a model: which of them breaks it, and how much."""

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from .lie import VECTOR, Generator, Model, Motion, Output, Transform, generators, slope

ANSWER = "answer"
"""Name of what a model does outside of its layers, such as reading out its answer."""


class Layer(NamedTuple):
    """A layer of a model, and what it returns: one ``Output`` for each of its tensors."""

    module: nn.Module
    outputs: tuple[Output, ...]


class LayerError(NamedTuple):
    """What a layer does to the local equivariance error of its model."""

    name: str
    own: float
    """Error of what the layer makes of exact inputs, relative to what it returns."""
    reaching: float
    """Error of the model if this layer alone errs, relative to the answer of the model."""


def layer_errors(
    model: Model,
    points: Float[Tensor, "n d"],
    layers: Mapping[str, Layer],
    transform: Transform = "rotation",
    output: Output = VECTOR,
    step: float | None = None,
) -> list[LayerError]:
    """The local equivariance error of each layer, and last that of all the rest, ``ANSWER``.

    What a layer returns for moved points is replaced by what an exact one would: its tensors for
    the points themselves, moved. So those after it start from exact inputs. With the first 0, 1,
    2, ... layers replaced, differences of the answer's derivative are what each lets through.

    Args:
        model: Calls the layers, as often as it likes. See ``local_error``.
        points: See ``local_error``.
        layers: By name, in the order in which they are called.
        transform: See ``local_error``.
        output: See ``local_error``.
        step: See ``local_error``.

    Raises:
        ValueError: If a layer is not called, or does not return what it should.
    """
    watched, names = _Watched(model, points, layers, output), [*layers, ANSWER]
    own: dict[str, list[Tensor]] = {name: [] for name in names}
    reaching: dict[str, list[Tensor]] = {name: [] for name in names}

    def derivative(direction: Generator, replaced: int) -> _Tensors:
        return slope(lambda m: watched.moved_back(m, names[:replaced]), direction, step)

    directions = generators(transform, points)
    for direction in directions:
        slopes = [derivative(direction, replaced) for replaced in range(len(names))]
        answers = [*(found[ANSWER][0] for found in slopes), torch.zeros(())]
        for name, (before, after) in zip(names, pairwise(answers), strict=True):
            own[name] += slopes[-1][name]
            reaching[name].append(before - after)
    size = {name: len(directions) * _squares(watched.still(name)) for name in names}
    return [
        LayerError(
            name,
            _ratio(_squares(own[name]), size[name]),
            _ratio(_squares(reaching[name]), size[ANSWER]),
        )
        for name in names
    ]


_Tensors = dict[str, list[Tensor]]
"""What each layer returns, the tensors of all its calls, and the answer of the model."""


class _Watched:
    """A model whose layers can be seen and replaced; it stays as it is."""

    def __init__(
        self, model: Model, points: Tensor, layers: Mapping[str, Layer], output: Output
    ) -> None:
        self.model, self.points, self.layers = model, points, layers
        self.outputs = {name: layer.outputs for name, layer in layers.items()}
        self.outputs[ANSWER] = (output,)
        self.returned: _Tensors = {name: [] for name in self.outputs}

        def keep(name: str, tensor: Tensor) -> Tensor:
            self.returned[name].append(tensor.detach())
            return tensor

        self._run(points, keep)
        for name in layers:
            if not self.returned[name]:
                raise ValueError(f"layer '{name}' is not called; give a module of this very model")

    def still(self, name: str) -> list[Tensor]:
        """What a layer returns for the points themselves, as it is compared."""
        return [
            self._output(name, index).comparable(tensor, tensor)
            for index, tensor in enumerate(self.returned[name])
        ]

    def moved_back(self, motion: Motion, replaced: Collection[str]) -> _Tensors:
        """What the layers return for moved points, moved back; some replaced by exact ones."""
        back: _Tensors = {name: [] for name in self.outputs}

        def compare(name: str, tensor: Tensor) -> Tensor:
            index = len(back[name])
            output, still = self._output(name, index), self.returned[name][index]
            back[name].append(output.moved_back(tensor, motion, still))
            return output.moved(still, motion) if name in replaced else tensor

        self._run(motion.points(self.points), compare)
        return back

    def _output(self, name: str, index: int) -> Output:
        return self.outputs[name][index % len(self.outputs[name])]

    def _run(self, points: Tensor, see: Callable[[str, Tensor], Tensor]) -> None:
        """Shows each tensor that a layer returns, and lets it be replaced."""

        def hook(name: str) -> Callable[[nn.Module, object, object], object]:
            def replace(_: nn.Module, __: object, value: object) -> object:
                tensors, tree = tree_flatten(value)
                if len(tensors) != len(self.outputs[name]):
                    raise ValueError(
                        f"layer '{name}' returns {len(tensors)} tensors; "
                        f"{len(self.outputs[name])} outputs are given"
                    )
                return tree_unflatten([see(name, tensor) for tensor in tensors], tree)

            return replace

        hooks = [
            layer.module.register_forward_hook(hook(name)) for name, layer in self.layers.items()
        ]
        try:
            see(ANSWER, self.model(points))
        finally:
            for handle in hooks:
                handle.remove()


def _squares(tensors: list[Tensor]) -> float:
    return sum(float(tensor.square().sum()) for tensor in tensors)


def _ratio(error: float, size: float) -> float:
    return error / size if error else 0.0  # what is zero may stay so
