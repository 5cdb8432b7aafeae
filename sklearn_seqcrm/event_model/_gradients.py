"""Functions of torch with hand-written gradients, in little memory and few passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def first_order_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Make a backward pass raise an error if its result is to be differentiated.

    For passes that hold derivatives from the forward pass as constants. The decorator
    `once_differentiable` of torch leaves them constants if the gradient that arrives
    is one, as that of a sum or a mean is: a penalty on gradients would lack a part.
    """

    @wraps(backward)
    def checked(ctx: Any, *gradients: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "The likelihood of an event model has first derivatives only: "
                "differentiate it without create_graph=True."
            )
        return backward(ctx, *gradients)

    return checked


# A linear layer of inputs with a gradient and of a few columns without ----------------


# With both passes, 20,000 rows of 64 inputs and 2 or 16 constants take half or a third
# of the time of a linear layer of the concatenated inputs, which copies them.
class _JointLinear(torch.autograd.Function):
    """The function `joint_linear` and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, constants: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        """Return ``[inputs, constants] @ weight.T + bias``, shape (n, n_outputs).

        `inputs` have the shape (n, D). `constants`, (n, F), are a few further inputs,
        which must not require a gradient.
        """
        assert not ctx.needs_input_grad[1]
        ctx.save_for_backward(inputs, constants, weight)
        size = inputs.shape[1]
        outputs = torch.addmm(bias, constants, weight[:, size:].T)
        return outputs.addmm_(inputs, weight[:, :size].T)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        inputs, constants, weight = ctx.saved_tensors
        [gradient] = gradients
        # With few columns, this product takes a sixth of the time of its transpose.
        of_weight = torch.cat([gradient.T @ inputs, (constants.T @ gradient).T], dim=1)
        of_inputs = gradient @ weight[:, : inputs.shape[1]]
        return of_inputs, None, of_weight, gradient.sum(dim=0)


joint_linear = _JointLinear.apply


# The log probability of one class among thousands -------------------------------------

# Logits at once: 512 KiB, so that all passes over them are in the cache of a CPU. On
# other devices each call has a latency, and memory is the limit.
_AT_ONCE, _AT_ONCE_ELSEWHERE = 2**17, 2**23
# Unnormalised probabilities that are kept for the gradient: 64 MiB. Those of more
# events are computed again, for a quarter more time.
_MOST_KEPT = 2**24


# With both passes, 2,000 or 8,000 rows take .5 to .6 of the time of torch's log_softmax
# with 500 classes, and of 5,000 as far as they are kept; as long with 50 classes, and
# where logits are computed again. Then they take less memory.
class _LogSoftmaxOf(torch.autograd.Function):
    """The function `log_softmax_of` and its gradient.

    With ``p = softmax(logits)`` and the class ``m`` of the largest logit::

        log p[c]              = logits[c] - logits[m] + log(p[m])
        d log p[c] / d logits = 1[c] - p
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        constants: Tensor,
        weight: Tensor,
        bias: Tensor,
        classes: Tensor,
    ) -> Tensor:
        """Return the log probability of one class of each row, shape (n,).

        Equal to ``log_softmax([inputs, constants] @ weight.T + bias)`` at `classes`.
        Logits are computed portion by portion, and changed in place.

        `inputs` have the shape (n, D); `constants`, (n, 1), are the last input, which
        must not require a gradient; `classes`, (n,), int64, are the class of each row.
        """
        assert not ctx.needs_input_grad[1]
        most = _AT_ONCE if inputs.device.type == "cpu" else _AT_ONCE_ELSEWHERE
        ctx.at_once = max(1, most // max(len(weight), 1))
        # Without gradients there is nothing to keep.
        is_kept = any(ctx.needs_input_grad) and len(inputs) * len(weight) <= _MOST_KEPT
        ctx.kept = []
        found = []
        inputs = torch.cat([inputs, constants], dim=1)
        for some, own in _portions(ctx.at_once, inputs, classes):
            logits = torch.addmm(bias, some, weight.T)
            probs = torch.softmax(logits, dim=1)
            log_prob = logits.gather(1, own[:, None])[:, 0] - logits.amax(dim=1)
            found.append(log_prob.add_(probs.amax(dim=1).log_()))
            if is_kept:
                ctx.kept.append(probs)
        ctx.save_for_backward(inputs, weight, bias, classes)
        return torch.cat(found)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        inputs, weight, bias, classes = ctx.saved_tensors
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        of_inputs = torch.empty_like(inputs[:, :-1])
        at = 0
        portions = _portions(ctx.at_once, inputs, classes, gradients[0])
        for number, (some, own, gradient) in enumerate(portions):
            if ctx.kept:
                probs, ctx.kept[number] = ctx.kept[number], None
            else:
                probs = torch.softmax(torch.addmm(bias, some, weight.T), dim=1)
            # (n, n_classes): gradient times 1[c] - p
            of_logits = probs.mul_(-gradient[:, None])
            of_logits.scatter_add_(1, own[:, None], gradient[:, None])
            torch.mm(of_logits, weight[:, :-1], out=of_inputs[at : at + len(some)])
            of_weight.addmm_(of_logits.T, some)
            of_bias += of_logits.sum(dim=0)
            at += len(some)
        return of_inputs, None, of_weight, of_bias, None


log_softmax_of = _LogSoftmaxOf.apply


def _portions(at_once: int, *tensors: Tensor) -> Any:
    """Yield portions of some tensors of equal length."""
    return zip(*(one.split(at_once) for one in tensors), strict=True)
