"""Settings of torch that are in force around a call, and have no say in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def own_settings(device: torch.device | str) -> Iterator[None]:
    """Compute as if nothing had been set.

    Inference mode would make weights that cannot be trained, autocast would round them,
    and a default device would be where tensors meet that belong elsewhere. All of these
    belong to the thread, so that no other one sees them change. The default dtype
    belongs to all threads: it is left alone, and every new tensor of this package says
    what its own is.

    Parameters
    ----------
    device : torch.device or str
        Where the network is.
    """
    kind = torch.device(device).type
    # Nothing is set as a rule, and scoring a row is quick: these questions are quicker.
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if kind in ("cpu", "cuda") and _autocasts(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def _autocasts(kind: str) -> bool:
    """Whether autocast may be on; torch 2.3 cannot be asked for every device."""
    try:
        return torch.is_autocast_enabled(kind)
    except TypeError:
        return True
