"""Changes of frame.

Frames are (3, 3, n): ``frames[:, :, i]`` is the matrix of node i, its rows are the axes, so
local = frame @ global. Components come first and nodes last everywhere, which turns the rotation
of millions of vectors into a few long multiply-adds; a batched 3 x 3 matrix product takes eight
times as long on a CPU (measured, 4 096 nodes with 64 vectors each).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx


def turned(
    vectors: Float[Tensor, "3 *c n"], frames: Float[Tensor, "3 3 n"], back: bool = False
) -> Float[Tensor, "3 *c n"]:
    """Global vectors in the frame of their node, or with ``back`` the reverse.

    Frames are constants: no gradient flows into them. Computed in the type of the frames.
    """
    return _Turn.apply(vectors.to(frames.dtype), frames.transpose(0, 1) if back else frames)


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, vectors: Tensor, frames: Tensor) -> Tensor:
        ctx.save_for_backward(frames)
        return _product(frames, vectors)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (frames,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return _product(frames.transpose(0, 1), grad), None


def _product(matrix: Float[Tensor, "3 3 n"], vectors: Float[Tensor, "3 *c n"]) -> Tensor:
    if vectors.device.type != "cpu":  # where starting an operation takes longer than many of them
        across = matrix.view(3, 3, *[1] * (vectors.ndim - 2), -1)
        return (across * vectors).sum(1)
    out = torch.empty_like(vectors, memory_format=torch.contiguous_format)
    for i in range(3):
        torch.mul(vectors[0], matrix[i, 0], out=out[i])
        out[i].addcmul_(vectors[1], matrix[i, 1]).addcmul_(vectors[2], matrix[i, 2])
    return out
