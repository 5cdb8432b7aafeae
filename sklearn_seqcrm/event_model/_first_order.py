"""Protection of hand-written gradients against second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def first_order_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Make a backward pass raise an error if its result is to be differentiated.

    For passes that hold derivatives from the forward pass as constants. The decorator
    `once_differentiable` of torch leaves them constants if the gradient that arrives
    is one, as that of a sum or a mean is: a penalty on gradients would lack a part.

    Parameters
    ----------
    backward : callable
        Takes the context and gradients.

    Returns
    -------
    callable
        The same, but it raises a RuntimeError under ``create_graph=True``.
    """

    @wraps(backward)
    def checked(ctx: Any, *gradients: torch.Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "The likelihood of an event model has first derivatives only: "
                "differentiate it without create_graph=True."
            )
        return backward(ctx, *gradients)

    return checked
