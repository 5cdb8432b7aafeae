"""The state of a training after each epoch, on a disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from skorch.callbacks import Callback, EarlyStopping

from sklearn_seqcrm._recurrent.network import RandomInTraining
from sklearn_seqcrm._recurrent.training import AveragedWeights
from sklearn_seqcrm._store import replace_atomically


def check_path(path: Any) -> None:
    """Raise a ValueError if a checkpoint cannot be written there; None is none."""
    file = Checkpoint(path).path
    if file is None:
        return
    # `replace_atomically` would refuse it, but only after the first epoch.
    fits = not file.exists() or (file.is_file() and os.access(file, os.W_OK))
    if not fits or not os.access(file.parent, os.W_OK):
        raise ValueError(
            f"checkpoint={str(path)!r} must be a file in a folder that exists, and the "
            "first rank must have permission to write both."
        )


class Checkpoint:
    """The state of a training, which rank 0 writes and all ranks read.

    The file holds::

        values     what ranks agreed on, in order: seeds
        ended      states of the nets whose training has ended, in order
        current    state of the net in training, after its last epoch, or None

    Without a path, nothing is kept.
    """

    def __init__(self, path: Any) -> None:
        if not isinstance(path, str | os.PathLike | None):
            raise TypeError(f"checkpoint must be the path of a file; got {path!r}.")
        # A link stays, and the file that it points to is written and deleted.
        self.path = None if path is None else Path(os.path.realpath(path))
        self._before, self._kept = _nothing(), _nothing()
        self._pending: dict[str, Any] | None = None
        self._batches: Any = None

    def first_value(self, value: Any) -> Any:
        """Return a value of the start of the training, this one if it has begun now."""
        at = len(self._kept["values"])
        if at < len(self._before["values"]):
            value = self._before["values"][at]
        self._kept["values"].append(value)
        return value

    def open(self, fingerprint: str, ranks: Any) -> None:
        """Read the file on rank 0, if there is one; refuse that of another training.

        Raises a ValueError on all ranks, if the file cannot be read or is of another
        training.
        """
        self._kept["fingerprint"] = fingerprint
        before, error = self._read(fingerprint) if ranks.rank == 0 else (None, None)
        before, error = ranks.gather((before, error))[0]
        if error is not None:
            raise ValueError(error)
        self._before = before or self._before

    def _read(self, fingerprint: str) -> tuple[dict[str, Any] | None, str | None]:
        """Return the content of the file and an error message, each None if absent."""
        if self.path is None or not self.path.exists():
            return None, None
        try:
            before = torch.load(self.path, map_location="cpu", weights_only=False)
            found = before["fingerprint"]
        except Exception as error:
            return None, (
                f"{self.path} is no checkpoint that can be read ({error!r}). Delete "
                "the file to train from the start."
            )
        if found != fingerprint:
            return None, (
                f"{self.path} is the checkpoint of another training: the estimator, "
                "its parameters, the fitted steps, the number of ranks or the rows "
                "differ. Delete the file to train from the start, or name another one."
            )
        return before, None

    def close(self, ranks: Any) -> None:
        """Delete the file at the end of the whole fit."""
        if self.path is not None and ranks.rank == 0:
            self.path.unlink(missing_ok=True)

    def begin_epoch(self, net: Any, batches: Any, ranks: Any) -> None:
        """Keep the iterator of batches; set generators in the first resumed epoch."""
        self._batches = batches
        pending, self._pending = self._pending, None
        if pending is not None:
            batches.rng.bit_generator.state = pending["batches"]
            for generator in _generators(net):
                generator.set_state(pending["dropout"][ranks.rank])

    def resume(self, net: Any) -> bool:
        """Restore a net from the file; return whether its training has ended."""
        at = len(self._kept["ended"])
        if at < len(self._before["ended"]):
            state = self._before["ended"][at]
            _restore(net, state)
            self._kept["ended"].append(state)
            return True
        if at == len(self._before["ended"]) and self._before["current"] is not None:
            self._pending = self._before["current"]
            net.max_epochs -= self._pending["n_epochs"]
            _restore(net, self._pending)
        return False

    def begin_training(self, net: Any) -> int:
        """Restore early stopping, and return the number of epochs before a restart."""
        if self._pending is None:
            return 0
        stopping = self._pending["stopping"]
        for one, own in zip(_early_stopping(net), stopping, strict=True):
            vars(one).update(own)
        return self._pending["n_epochs"]

    def keep(self, net: Any, ranks: Any, n_epochs: int) -> None:
        """Write the state after an epoch."""
        if self.path is None:
            return
        own = [generator.get_state() for generator in _generators(net)]
        dropout = ranks.gather(own[0] if own else None)
        if ranks.rank == 0:
            stopping = [
                {name: value for name, value in vars(one).items() if name != "sink"}
                for one in _early_stopping(net)
            ]
            self._kept["current"] = {
                **_state(net),
                "n_epochs": n_epochs,
                "dropout": dropout,
                "batches": self._batches.rng.bit_generator.state,
                "stopping": stopping,
            }
            self._write()

    def finish(self, net: Any, ranks: Any) -> None:
        """Write the state at the end of the training of a net."""
        self._batches = self._pending = None
        self._kept["current"] = None
        if self.path is None:
            self._kept["ended"].append(None)
            return
        self._kept["ended"].append(_state(net))
        if ranks.rank == 0:
            self._write()

    def _write(self) -> None:
        assert self.path is not None
        with replace_atomically(self.path) as part:
            torch.save(self._kept, part)


def _nothing() -> dict[str, Any]:
    return {"values": [], "ended": [], "current": None}


class EpochCheckpoint(Callback):
    """Write a checkpoint after each epoch, after early stopping and averaging."""

    def __init__(self, checkpoint: Checkpoint, ranks: Any) -> None:
        self.checkpoint = checkpoint
        self.ranks = ranks

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Restore early stopping, which has just been reset."""
        self._n_before = len(net.history) - self.checkpoint.begin_training(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write the state."""
        self.checkpoint.keep(net, self.ranks, len(net.history) - self._n_before)


def _early_stopping(net: Any) -> list[EarlyStopping]:
    return [one for _, one in net.callbacks_ if isinstance(one, EarlyStopping)]


def _generators(net: Any) -> list[torch.Generator]:
    """Return the random generator of the training, if a module draws from it."""
    modules = net.module_.modules()
    return [m.generator for m in modules if isinstance(m, RandomInTraining)][:1]


def _state(net: Any) -> dict[str, Any]:
    """Return what a net has learned."""
    averaged = [one for _, one in net.callbacks_ if isinstance(one, AveragedWeights)]
    return {
        "weights": net.module_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "history": [{**epoch, "batches": []} for epoch in net.history],
        "last_step": averaged[0].last_step() if averaged else net.last_step,
    }


def _restore(net: Any, state: dict[str, Any]) -> None:
    """Set what `_state` returned."""
    net.module_.load_state_dict(state["weights"])
    net.optimizer_.load_state_dict(state["optimizer"])
    net.history.clear()
    net.history.extend(state["history"])
    net.last_step = state["last_step"]
