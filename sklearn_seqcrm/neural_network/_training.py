"""A training of a skorch net: its seeds, its epochs, and the callbacks around them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from sklearn.utils import check_random_state
from skorch.callbacks import EarlyStopping

from sklearn_seqcrm._sklearn_compat import parse_version
from sklearn_seqcrm.neural_network._averaging import AveragedWeights
from sklearn_seqcrm.neural_network._epochs import EpochSteps, Interrupted, StopIfAsked
from sklearn_seqcrm.neural_network._net import HistoryNet
from sklearn_seqcrm.neural_network._rows import RowData
from sklearn_seqcrm.neural_network._settings import own_settings

# All parameters in one call, which saves an eighth of a step.
_HAS_FUSED_OPTIMIZERS = parse_version(torch.__version__) >= parse_version("2.4")


class Seeds(NamedTuple):
    """One seed for each that draws anything."""

    split: int
    batches: int
    weights: int
    dropout: int


def draw_seeds(random_state: Any, n_before: Sequence[int]) -> list[Seeds]:
    """Draw the seeds of a training, for each of several networks.

    They are others in each call, if they are several, but for the customers set aside:
    those of the last call would be among the training rows. Networks do not differ in
    what their first one draws.

    Parameters
    ----------
    random_state : int, RandomState or None
        As the estimator has it.
    n_before : sequence of int
        Epochs that each network has been trained for.
    """
    rng = check_random_state(random_state)
    shape = max(n_before) + 1, len(n_before), 4
    seeds = rng.randint(2**31 - 1, size=shape).tolist()
    return [
        Seeds(seeds[0][net][0], *seeds[n_epochs][net][1:])
        for net, n_epochs in enumerate(n_before)
    ]


def optimized_as_asked(estimator: Any) -> dict[str, Any]:
    """Arguments of a net: its optimizer, device and messages, as parameters say."""
    return {
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": estimator.weight_decay,
        "optimizer__fused": _HAS_FUSED_OPTIMIZERS,
        "lr": estimator.learning_rate,
        "device": estimator.device,
        "verbose": estimator.verbose,
        "callbacks": [],
    }


def train_as_asked(
    estimator: Any,
    net: HistoryNet,
    seeds: Seeds,
    max_epochs: int,
    data: RowData,
    valid: RowData | None,
    epochs: EpochSteps | None,
) -> None:
    """Train a net with the parameters that may change from call to call.

    Parameters
    ----------
    estimator : estimator
        Whose parameters these are.
    net : HistoryNet
        The net, initialized.
    seeds : Seeds
        Seeds of this training.
    max_epochs : int
        Most passes over the rows.
    data, valid, epochs
        As in `train`. Where nobody sees epochs, in `partial_fit`, the net goes on.
    """
    net.max_epochs = max_epochs
    net.shuffle_seed, net.dropout_seed = seeds.batches, seeds.dropout
    for reader in net.module_.readers:
        reader.bptt_steps, reader.precision = estimator.bptt_steps, estimator.precision
    with own_settings(estimator.device):
        net.set_params(lr=estimator.learning_rate, verbose=estimator.verbose)
        train(
            net,
            data,
            valid,
            estimator.callbacks or (),
            estimator.n_iter_no_change,
            estimator.averaged_steps,
            may_go_on=estimator.warm_start or epochs is None,
            epochs=epochs,
        )


def train(
    net: HistoryNet,
    data: RowData,
    valid: RowData | None,
    callbacks: Sequence[Any],
    patience: int,
    averaged_steps: int,
    may_go_on: bool,
    epochs: EpochSteps | None,
) -> None:
    """Run the epochs of a net, `net.max_epochs` at most, with callbacks of both kinds.

    Parameters
    ----------
    net : HistoryNet
        The net, initialized.
    data : RowData
        Rows to learn from, with weights of mean 1.
    valid : RowData or None
        Rows whose loss says when to stop. None: never.
    callbacks : sequence of skorch callbacks
        The user's. The net gets copies, which keep their own state.
    patience : int
        Epochs without improvement after which training stops.
    averaged_steps : int
        Steps over which weights are averaged; 1 does not.
    may_go_on : bool
        Whether to keep what a later call needs to go on as if it were this one.
    epochs : EpochSteps or None
        What shows epochs to callbacks of scikit-learn, or None if they see none.
    """
    own = [copy.deepcopy(callback) for callback in callbacks]
    averaged = AveragedWeights(averaged_steps, net.last_step)
    averaging = [averaged] if averaged_steps > 1 else []
    net.last_step = None
    watching: list[Any] = []
    stopping: list[Any] = []
    asking: list[Any] = []
    if epochs is not None:
        watching = [("epochs", epochs)]
        asking = [("stop_if_asked", StopIfAsked(epochs))]
    if valid is not None:
        stopping = [("stop_early", _stop_early(patience, bool(net.verbose)))]
    # set_params would take new callbacks without initializing them. Early stopping
    # ends an epoch before later callbacks see it, so that the others come first. All of
    # them see averaged weights.
    net.callbacks = [*averaging, *own, *watching, *stopping, *asking]
    net.initialize_callbacks()
    try:
        net.partial_fit((data, valid))
        if averaging and may_go_on:
            net.last_step = averaged.last_step()
    except Interrupted as interrupted:
        if averaging:
            averaged.show()
        raise KeyboardInterrupt from interrupted
    finally:
        net.callbacks = [*own, *stopping]
        _forget(net, [*averaging, *(step for _, step in watching + asking)])


def _stop_early(patience: int, verbose: bool) -> EarlyStopping:
    sink = print if verbose else _say_nothing
    return EarlyStopping(patience=patience, load_best=True, sink=sink)


def _say_nothing(*text: Any) -> None:
    """Where messages of callbacks go unless `verbose`."""


def _forget(net: HistoryNet, steps: Sequence[Any]) -> None:
    """Drop what training alone needs: data, and what grows with it."""
    # These hold the data, and perhaps threads.
    net.callbacks_ = [(name, c) for name, c in net.callbacks_ if c not in steps]
    for epoch in net.history:
        # A loss for each batch: the more rows, the more of them.
        epoch["batches"].clear()
