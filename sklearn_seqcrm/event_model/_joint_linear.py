"""A linear layer of inputs with a gradient, and of a few columns without one."""

from __future__ import annotations

from typing import Any

import torch


# With both passes, 20,000 rows of 64 inputs and 2 or 16 constants take half or a third
# of the time of a linear layer of the concatenated inputs, which copies them.
class _JointLinear(torch.autograd.Function):
    """The function `joint_linear` and its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        constants: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
    ) -> torch.Tensor:
        """Return ``[inputs, constants] @ weight.T + bias``, shape (n, n_outputs).

        Parameters
        ----------
        ctx : object
            Context of the backward pass.
        inputs : Tensor of shape (n, D)
            Inputs whose gradient is computed.
        constants : Tensor of shape (n, F)
            A few further inputs, which must not require a gradient.
        weight : Tensor of shape (n_outputs, D + F)
            Weights of both.
        bias : Tensor of shape (n_outputs,)
            Bias.
        """
        assert not ctx.needs_input_grad[1]
        ctx.save_for_backward(inputs, constants, weight)
        size = inputs.shape[1]
        outputs = torch.addmm(bias, constants, weight[:, size:].T)
        return outputs.addmm_(inputs, weight[:, :size].T)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        inputs, constants, weight = ctx.saved_tensors
        [gradient] = gradients
        # With few columns, this product takes a sixth of the time of its transpose.
        of_weight = torch.cat([gradient.T @ inputs, (constants.T @ gradient).T], dim=1)
        of_inputs = gradient @ weight[:, : inputs.shape[1]]
        return of_inputs, None, of_weight, gradient.sum(dim=0)


joint_linear = _JointLinear.apply
