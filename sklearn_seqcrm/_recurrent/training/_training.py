"""Parameters of estimators, the training of a net, and pretrained weights.

`CONSTRAINTS` validates single parameters; functions ``refuse_*`` check what depends on
the machine, other parameters or earlier calls.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from skorch.callbacks import EarlyStopping
from skorch.utils import noop
from torch import nn

from sklearn_seqcrm._recurrent.data import HistorySpec, RowData
from sklearn_seqcrm._recurrent.network import (
    CELLS,
    POOLINGS,
    PRECISIONS,
    isolated_torch_settings,
    trains_in_bfloat16,
)
from sklearn_seqcrm._recurrent.training._net import (
    AveragedWeights,
    EpochSteps,
    FallingRate,
    HistoryNet,
    Interrupted,
    StopOnRequest,
)
from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, is_count, parse_version

Pooling: TypeAlias = Literal["last", "mean", "max", "attention", "decay"]

# A number of things, from 1 on.
COUNT = Interval(Integral, 1, None, closed="left")
CONSTRAINTS: dict[str, list[Any]] = {
    "cell": [StrOptions(set(CELLS))],
    "hidden_size": [COUNT],
    "num_layers": [COUNT],
    "bidirectional": ["boolean"],
    "pooling": [StrOptions(set(POOLINGS)), list, tuple],
    "bptt_steps": [COUNT, None],
    "precision": [StrOptions(set(PRECISIONS))],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "category_dropout": [Interval(Real, 0, 1, closed="left")],
    "head_sizes": ["array-like"],
    "static_pieces": [COUNT],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "n_networks": [COUNT, StrOptions({"auto"})],
    "averaged_steps": [COUNT],
    "batch_size": [COUNT, StrOptions({"auto"})],
    "max_epochs": [COUNT, StrOptions({"auto"})],
    "early_stopping": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [
        Interval(Real, 0, 1, closed="neither"),
        StrOptions({"auto"}),
    ],
    "n_iter_no_change": [COUNT],
    "callbacks": [list, tuple, None],
    "device": [str, torch.device],
    "random_state": ["random_state"],
    "warm_start": ["boolean"],
    "verbose": ["verbose"],
}


# Parameters that cannot change after the first training of a network.
_OF_THE_NETWORK = (
    "cell",
    "hidden_size",
    "num_layers",
    "bidirectional",
    "pooling",
    "dropout",
    "category_dropout",
    "head_sizes",
    "static_pieces",
    "weight_decay",
    "n_networks",
    "n_components",
    "copies",
    "moments",
    "min_frequency",
    "max_categories",
    "yearly_seasonality",
    "exposure",
)


def _network_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters that must not change when training continues."""
    params = estimator.get_params(deep=False)
    found = {name: params[name] for name in _OF_THE_NETWORK if name in params}
    if "pooling" in found:
        found["pooling"] = names_of_poolings(found["pooling"])
    if "head_sizes" in found:
        found["head_sizes"] = tuple(int(size) for size in found["head_sizes"])
    return found


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a ValueError if parameters differ from those of existing networks."""
    for name, value in before.items():
        if value != (other := now.get(name)):
            raise ValueError(
                f"The network continues with {name}={value!r}; got {other!r}. Set it "
                "back, or fit from the start."
            )


def keep_network_parameters(estimator: Any, is_continuation: bool) -> None:
    """Store the parameters of new networks, or refuse changes to existing ones.

    Parameters
    ----------
    estimator : estimator
        Estimator with validated parameters. Its `nets_` are deleted unless training
        continues: if this fit fails, they would not match the other attributes.
    is_continuation : bool
        Whether training of ``estimator.nets_`` continues.

    Raises
    ------
    ValueError
        If the device or the architecture of existing networks would change.
    """
    now = _network_parameters(estimator)
    if is_continuation:
        device, device_before = str(estimator.device), str(estimator.net_.device)
        if torch.device(device) != torch.device(device_before):
            raise ValueError(
                f"The network continues on its device, {device_before!r}; got "
                f"device={device!r}. Set it back, or fit from the start."
            )
        before = estimator._network_parameters
        # "auto" and the number that it led to are equal.
        n_networks = len(estimator.nets_)
        if now.get("n_networks") in ("auto", n_networks):
            now["n_networks"] = before["n_networks"]
        elif before.get("n_networks") == "auto":
            before = before | {"n_networks": n_networks}
        refuse_changes(before, now)
        return
    if hasattr(estimator, "nets_"):
        del estimator.nets_
    estimator._network_parameters = now


def names_of_poolings(pooling: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of one or several poolings, or raise a ValueError."""
    names = (pooling,) if isinstance(pooling, str) else tuple(pooling)
    unknown = [name for name in names if name not in POOLINGS]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            f"pooling must be one or several different ones of {list(POOLINGS)}; "
            f"got {pooling!r}."
        )
    return names


def refuse_other_sizes(head_sizes: Sequence[int]) -> None:
    """Raise a ValueError for invalid sizes of layers."""
    if not all(map(is_count, head_sizes)):
        raise ValueError(f"head_sizes must be positive integers; got {head_sizes!r}.")


def refuse_absent_device(device: str | torch.device) -> None:
    """Raise a ValueError for a device that this machine does not have."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # depends on the build of torch
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={str(device)!r} cannot be used here ({reason}); "
            "set_params(device='cpu') trains on the processor."
        ) from error


def refuse_absent_precision(precision: str, device: str | torch.device) -> None:
    """Raise a ValueError if the device cannot train with this precision."""
    if precision == "bfloat16" and not trains_in_bfloat16(torch.device(device).type):
        raise ValueError(
            f"precision='bfloat16' cannot be used here (device {str(device)!r} does "
            "not train recurrent layers in it); set_params(precision='float32') trains "
            "on any device."
        )


# Parameters that determine the shapes of the weights of a reader.
_SIZES = ("cell", "hidden_size", "num_layers")


def refuse_other_architecture(estimator: Any) -> None:
    """Raise an error if the weights of ``estimator.pretrained`` do not fit.

    Parameters
    ----------
    estimator : estimator
        Estimator with the parameter `pretrained`.

    Raises
    ------
    TypeError
        If `pretrained` is not an event model.
    NotFittedError
        If it has not been fitted.
    ValueError
        If its architecture differs.
    """
    pretrained, name = estimator.pretrained, type(estimator).__name__
    if pretrained is None:
        return
    if not hasattr(pretrained, "predict_next"):
        raise TypeError(
            f"pretrained of {name} must be a fitted LSTMEventModel or None; got "
            f"{type(pretrained).__name__}."
        )
    if not hasattr(pretrained, "nets_"):
        raise NotFittedError(
            f"{name} needs pretrained to be a fitted LSTMEventModel, and it is not "
            "fitted. Fit it before, on rows that see no event of a test period; in a "
            "grid of several use FrozenEstimator(pretrained), as clones are unfitted."
        )
    net = pretrained.net_
    other = [
        f"{size}={getattr(estimator, size)!r} where it has "
        f"{getattr(net, 'module__' + size)!r}"
        for size in _SIZES
        if getattr(estimator, size) != getattr(net, "module__" + size)
    ]
    if estimator.bidirectional:
        other.append("bidirectional=True where it reads forward alone")
    if other:
        raise ValueError(
            f"{name} cannot start from pretrained: it has {', '.join(other)}. Give "
            "both the same values."
        )


@torch.no_grad()
def copy_pretrained_weights(
    pretrained: Any, readers: Sequence[nn.Module], specs: Sequence[HistorySpec]
) -> None:
    """Copy the embeddings and recurrent layers of a fitted event model.

    Parameters
    ----------
    pretrained : LSTMEventModel
        The fitted model.
    readers : sequence of HistoryReader
        One for each history column.
    specs : sequence of HistorySpec
        Sizes and digests of the history columns. Weights are copied for columns that
        are encoded as the events of `pretrained`.

    Raises
    ------
    ValueError
        If no column is.
    """
    learned, [encoder] = pretrained.net_.module_.reader, pretrained._encoders.values()
    # Equal digests: the same channels, levels and scales of single events. Row features
    # may differ, as the head is new.
    same = [
        reader
        for reader, spec in zip(readers, specs, strict=True)
        if spec.of_events == encoder.layout.of_events
    ]
    if not same:
        raise ValueError(
            f"No history column of X (of {len(specs)}) is encoded as the events that "
            "pretrained was fitted on: other channels, levels or scales mean other "
            "weights. HistoryEncoder(pretrained=event_model) encodes so, and "
            "make_history_pipeline(LSTMClassifier(pretrained=event_model)) has it."
        )
    for reader in same:
        reader.embeddings.load_state_dict(learned.embeddings.state_dict())
        reader.layers.load_state_dict(learned.layers.state_dict())


# Fused optimizers save an eighth of a step.
_HAS_FUSED_OPTIMIZERS = parse_version(torch.__version__) >= parse_version("2.4")


class Seeds(NamedTuple):
    """Seeds of the validation split, the batches, the weights and the dropout."""

    split: int
    batches: int
    weights: int
    dropout: int


def draw_seeds(random_state: Any, n_before: Sequence[int]) -> list[Seeds]:
    """Draw the seeds of a training for each of several networks.

    Continued training uses new seeds, except for the split: other customers set aside
    would have been training rows before. In a first training, the seeds of the first
    network do not depend on the number of networks.

    Parameters
    ----------
    random_state : int, RandomState or None
        Parameter of the estimator.
    n_before : sequence of int
        Number of epochs before, of each network.
    """
    rng = check_random_state(random_state)
    # Seeds by number of epochs before and network. The draws for fewer epochs come
    # first, so that each continuation draws the same seeds again and one more.
    shape = max(n_before) + 1, len(n_before), 4
    seeds = rng.randint(2**31 - 1, size=shape).tolist()
    return [
        Seeds(seeds[0][net][0], *seeds[n_epochs][net][1:])
        for net, n_epochs in enumerate(n_before)
    ]


def optimizer_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters of a net for its optimizer, device and messages."""
    return {
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": estimator.weight_decay,
        "optimizer__fused": _HAS_FUSED_OPTIMIZERS,
        "lr": estimator.learning_rate,
        "device": estimator.device,
        "verbose": estimator.verbose,
        "callbacks": [],
    }


# Epochs with a loss within this share of the range of losses are as good as the best.
_AS_GOOD = 0.1


def best_n_epochs(net: HistoryNet) -> int:
    """Return the number of epochs at the middle of the flat minimum of a net's losses.

    The least loss itself depends on the seed: in invoices it came after 3, 10 and 9
    epochs, and the middle after 6, 8 and 10. The range of the losses is a scale that
    losses of any unit and sign have.
    """
    losses = np.array(net.history[:, "valid_loss"])  # (n_epochs,)
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return 1  # training diverged, and the second one may raise an error for it
    most = finite.min() + _AS_GOOD * (finite.max() - finite.min())
    return 1 + round(float(np.flatnonzero(losses <= most).mean()))


def train(
    estimator: Any,
    net: HistoryNet,
    seeds: Seeds,
    max_epochs: int,
    data: RowData,
    valid: RowData | None,
    epochs: EpochSteps | None,
    lowers_rate: bool = False,
) -> None:
    """Train one of ``estimator.nets_`` with the present parameters of the estimator.

    Parameters
    ----------
    estimator : estimator
        Estimator; its `n_iter_` is set.
    net : HistoryNet
        Initialized net.
    seeds : Seeds
        Seeds of this training.
    max_epochs : int
        Largest number of passes over the rows.
    data : RowData
        Training rows, with weights of mean 1.
    valid : RowData or None
        Validation rows for early stopping. None: no early stopping.
    epochs : EpochSteps or None
        Reports epochs to callbacks of scikit-learn. None, in `partial_fit`: no reports,
        and the state is kept for a later call, which continues this training.
    lowers_rate : bool, default=False
        Whether the learning rate falls in the second half of the epochs.

    Raises
    ------
    ValueError
        If weights are not finite after training; ``estimator.nets_`` is deleted then.
    """
    net.max_epochs = max_epochs
    net.shuffle_seed, net.dropout_seed = seeds.batches, seeds.dropout
    # These parameters may change between calls, unlike the architecture.
    for reader in net.module_.readers:
        reader.bptt_steps, reader.precision = estimator.bptt_steps, estimator.precision
    with isolated_torch_settings(estimator.device):
        net.set_params(lr=estimator.learning_rate, verbose=estimator.verbose)
        if not net.ranks.resume(net):
            _run_epochs(estimator, net, data, valid, epochs, lowers_rate)
            net.ranks.finish(net)
    estimator.n_iter_ = max(len(one.history) for one in estimator.nets_)
    if not all(p.isfinite().all() for p in net.module_.parameters()):
        del estimator.nets_
        raise ValueError(
            f"Training diverged in {len(net.history)} epochs: weights of the network "
            "are not finite. Lower learning_rate or scale the statics, and fit from "
            "the start."
        )


def _run_epochs(
    estimator: Any,
    net: HistoryNet,
    data: RowData,
    valid: RowData | None,
    epochs: EpochSteps | None,
    lowers_rate: bool,
) -> None:
    """Run the epochs of a net, with callbacks of skorch and of scikit-learn."""
    for callback in estimator.callbacks or ():
        is_named = isinstance(callback, tuple) and len(callback) == 2
        last = callback[1] if is_named else callback
        is_one = hasattr(last, "on_epoch_end") and not isinstance(last, type)
        if last is not None and not is_one:
            raise TypeError(
                "callbacks must be a list of skorch callbacks, or of tuples of a name "
                f"and a callback; one of them is {callback!r}."
            )
    # Copies of the user's callbacks: an estimator does not change its parameters.
    own = [copy.deepcopy(callback) for callback in estimator.callbacks or ()]
    averaged = AveragedWeights(estimator.averaged_steps, net.last_step)
    averaging = [averaged] if estimator.averaged_steps > 1 else []
    net.last_step = None
    falling = [FallingRate(net.max_epochs)] if lowers_rate else []
    reporting = [] if epochs is None else [epochs]
    ending = [] if epochs is None else [StopOnRequest(epochs)]
    stopping: list[Any] = []
    if valid is not None:
        sink = print if net.verbose else noop
        patience = estimator.n_iter_no_change
        stop_early = EarlyStopping(patience=patience, load_best=True, sink=sink)
        stopping = [("stop_early", stop_early)]
    # Not by set_params, which does not initialize new callbacks. The rate is set before
    # callbacks of the user, who may set another. Early stopping ends an epoch before
    # later callbacks are called, so that the others come first. All of them see
    # averaged weights. Callbacks of several processes surround the others, so that
    # these see numbers on which all processes agree.
    first, last = net.ranks.callbacks()
    of_user_and_epochs = [*own, *reporting, *stopping]
    net.callbacks = [*first, *falling, *averaging, *of_user_and_epochs, *last, *ending]
    net.initialize_callbacks()
    try:
        net.partial_fit((data, valid))
        if averaging and (estimator.warm_start or epochs is None):
            net.last_step = averaged.last_step()
    except Interrupted as interrupted:
        # The user stops the program, with a usable net if the exception is caught.
        if averaging:
            averaged.show()
        raise KeyboardInterrupt from interrupted
    finally:
        net.callbacks = [*own, *stopping]
        _forget(net, [*first, *falling, *averaging, *reporting, *last, *ending])


def _forget(net: HistoryNet, steps: Sequence[Any]) -> None:
    """Delete references to data, and histories of batches."""
    # These callbacks reference the data, and perhaps threads.
    net.callbacks_ = [(name, c) for name, c in net.callbacks_ if c not in steps]
    for epoch in net.history:
        # Losses of each batch would grow with the number of rows.
        epoch["batches"].clear()
