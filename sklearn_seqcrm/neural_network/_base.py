"""What the recurrent estimators share: inputs, training and outputs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, is_classifier
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
)
from skorch.callbacks import EarlyStopping

from sklearn_seqcrm._callbacks import CallbackSupportMixin, FitTask
from sklearn_seqcrm._documentation import DOC_LINK
from sklearn_seqcrm.neural_network._batches import automatic_batch_size
from sklearn_seqcrm.neural_network._epochs import EpochSteps, Interrupted, StopIfAsked
from sklearn_seqcrm.neural_network._inputs import Inputs, read_inputs
from sklearn_seqcrm.neural_network._module import HistoryNetwork
from sklearn_seqcrm.neural_network._net import HistoryClassifierNet, HistoryNet
from sklearn_seqcrm.neural_network._poolings import POOLINGS
from sklearn_seqcrm.neural_network._reader import (
    CELLS,
    PRECISIONS,
    HistorySpec,
    trains_in_bfloat16,
)
from sklearn_seqcrm.neural_network._rows import RowData
from sklearn_seqcrm.neural_network._scaling import (
    exponent_of,
    in_unit,
    of_any_weight,
    over_mean,
)
from sklearn_seqcrm.neural_network._settings import own_settings

# With fewer rows a validation part is too small to tell epochs apart.
_ROWS_TO_STOP_EARLY = 1000
# All parameters in one call, which saves an eighth of a step.
_HAS_FUSED_OPTIMIZERS = parse_version(torch.__version__) >= parse_version("2.4")


class BaseLSTM(CallbackSupportMixin, BaseEstimator):
    """What classifier and regressor share: inputs, training and outputs."""

    net_: HistoryNet

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, list[Any]] = {
        "cell": [StrOptions(set(CELLS))],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "num_layers": [Interval(Integral, 1, None, closed="left")],
        "bidirectional": ["boolean"],
        "pooling": [StrOptions(set(POOLINGS)), list, tuple],
        "bptt_steps": [Interval(Integral, 1, None, closed="left"), None],
        "precision": [StrOptions(set(PRECISIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "head_sizes": ["array-like"],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, tuple, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    def _fit(
        self,
        inputs: Inputs,
        target: np.ndarray,
        weight: np.ndarray | None,
        n_outputs: int,
        criterion: dict[str, Any],
        bias: np.ndarray,
        task: FitTask | None,
    ) -> Self:
        """Train the network on rows whose target is ready for the loss.

        Parameters
        ----------
        inputs : Inputs
            Rows of X.
        target : ndarray of shape (n,)
            Codes of classes (int64) or scaled numbers (float32).
        weight : ndarray of shape (n,), float64, or None
            Weight of each row, as `_start` scales them.
        n_outputs : int
            Number of outputs of the network.
        criterion : dict
            The loss as skorch parameters.
        bias : ndarray of shape (n_outputs,)
            What a network without inputs would best return, to start from.
        task : FitTask or None
            The fit as callbacks of scikit-learn see it. None: `partial_fit`, which
            goes on with the network, if there is one, for a single epoch.
        """
        _warn_if_all_empty(inputs)
        rng = check_random_state(self.random_state)
        again = self._goes_on(task is None)
        # Others in each call, if they are several, but for the customers set aside:
        # those of the last call would be among the training rows.
        n_before = len(self.net_.history) if again else 0
        seeds = rng.randint(2**31 - 1, size=(n_before + 1, 4))
        split_seed = seeds[0, 0]
        _, shuffle_seed, weights_seed, dropout_seed = map(int, seeds[-1])
        if again:
            inputs = self._as_in_fit(inputs)
        data = RowData(inputs.data.sources, inputs.data.static, target, weight)
        data, customers = _of_any_weight(data, inputs.customers())
        batch_size = (
            automatic_batch_size(data, not self.bidirectional)
            if self.batch_size == "auto"
            else int(self.batch_size)
        )
        if not again:
            self._mean_weight = 1.0 if data.weight is None else data.weight.mean()
        if task is None:
            # Weights of one call count beside those of others.
            train, valid = _weighted(data, self._mean_weight), None
        else:
            train, valid = self._split(data, customers, int(split_seed), batch_size)
        with own_settings(self.device):
            if again:
                for reader in self.net_.module_.readers:
                    reader.bptt_steps = self.bptt_steps
                    reader.precision = self.precision
                self.net_.set_params(lr=self.learning_rate, verbose=self.verbose)
            else:
                self._specs = inputs.specs
                self._n_static = inputs.data.static.shape[1]
                self.net_ = self._build(n_outputs, criterion, weights_seed)
                self.net_.initialize()
                with torch.no_grad():
                    last = self.net_.module_.head[-1]
                    last.bias.copy_(torch.from_numpy(bias.astype("float32")))
            self.batch_size_ = self.net_.batch_size = batch_size
            self.net_.shuffle_seed = shuffle_seed
            self.net_.dropout_seed = dropout_seed
            self.net_.max_epochs = 1 if task is None else self.max_epochs
            self._train(train, valid, task)
        self.n_iter_ = len(self.net_.history)
        if not all(p.isfinite().all() for p in self.net_.module_.parameters()):
            del self.net_
            raise ValueError(
                f"Training diverged in {self.n_iter_} epochs: weights of the network "
                "are not finite. Lower learning_rate or scale the statics, and fit "
                "from the start."
            )
        if task is not None:
            task.end()
        return self

    def _goes_on(self, partial: bool) -> bool:
        """Whether a fit goes on with the network that is there."""
        return (partial or self.warm_start) and hasattr(self, "net_")

    def _train(
        self, train: RowData, valid: RowData | None, task: FitTask | None
    ) -> None:
        """Run the epochs, with callbacks of both kinds."""
        callbacks = self._callbacks(valid is not None)
        steps = []
        if task is not None:
            epochs = EpochSteps(task)
            steps = [("epochs", epochs), ("stop_if_asked", StopIfAsked(epochs))]
            # After the callbacks of the user, before early stopping.
            place = len(callbacks) - (valid is not None)
            callbacks[place:place] = steps[:1]
            callbacks += steps[1:]
        # set_params would take new callbacks without initializing them.
        self.net_.callbacks = callbacks
        self.net_.initialize_callbacks()
        try:
            self.net_.partial_fit((train, valid))
        except Interrupted as interrupted:
            raise KeyboardInterrupt from interrupted
        finally:
            self.net_.callbacks = [c for c in callbacks if c not in steps]
            self._forget([step for _, step in steps])

    def _forget(self, steps: Sequence[Any]) -> None:
        """Drop what training alone needs: data, and what grows with it."""
        net = self.net_
        # These hold the data, and perhaps threads.
        net.callbacks_ = [(name, c) for name, c in net.callbacks_ if c not in steps]
        for epoch in net.history:
            # A loss for each batch: the more rows, the more of them.
            epoch["batches"].clear()

    def _build(
        self, n_outputs: int, criterion: dict[str, Any], seed: int
    ) -> HistoryNet:
        net = HistoryClassifierNet if is_classifier(self) else HistoryNet
        return net(
            HistoryNetwork,
            module__specs=self._specs,
            module__n_static=self._n_static,
            module__n_outputs=n_outputs,
            module__cell=self.cell,
            module__hidden_size=self.hidden_size,
            module__num_layers=self.num_layers,
            module__bidirectional=self.bidirectional,
            module__pooling=self._poolings(),
            module__bptt_steps=self.bptt_steps,
            module__precision=self.precision,
            module__dropout=self.dropout,
            module__head_sizes=tuple(int(size) for size in self.head_sizes),
            module__seed=seed,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=self.weight_decay,
            optimizer__fused=_HAS_FUSED_OPTIMIZERS,
            lr=self.learning_rate,
            device=self.device,
            verbose=self.verbose,
            share_sequences=not self.bidirectional,
            callbacks=[],
            **criterion,
        )

    def _callbacks(self, with_validation: bool) -> list[Any]:
        """Copies of the user's callbacks, which keep their own state, between ours.

        Early stopping ends an epoch before later callbacks see it, so it comes last.
        """
        callbacks = [copy.deepcopy(callback) for callback in self.callbacks or ()]
        if with_validation:
            stop = EarlyStopping(
                patience=self.n_iter_no_change,
                load_best=True,
                sink=print if self.verbose else _say_nothing,
            )
            callbacks.append(("stop_early", stop))
        return callbacks

    def _split(
        self, data: RowData, customers: np.ndarray, seed: int, batch_size: int
    ) -> tuple[RowData, RowData | None]:
        """Set rows aside for early stopping, all rows of a customer or none."""
        n_customers = len(np.unique(customers))
        wanted = self.early_stopping
        if wanted == "auto":
            wanted = len(data) >= _ROWS_TO_STOP_EARLY and n_customers > 1
        if not wanted:
            return _of_mean_weight(data), None
        if n_customers < 2:
            raise ValueError(
                "early_stopping=True sets customers aside for validation, but all "
                f"{len(data)} rows belong to one customer; use early_stopping=False."
            )
        splitter = GroupShuffleSplit(
            1, test_size=self.validation_fraction, random_state=seed
        )
        train, valid = next(splitter.split(data.static, groups=customers))
        return (
            _of_mean_weight(data.take(train)),
            _of_mean_weight(self._in_order_of_batches(data.take(valid), batch_size)),
        )

    def _in_order_of_batches(self, data: RowData, batch_size: int) -> RowData:
        """Let skorch's scoring callbacks see rows in the order of their predictions."""
        rows = HistoryNet.rows_of_batches(data, batch_size, not self.bidirectional)
        return data.take(rows)

    def _outputs(self, X: Any) -> np.ndarray:
        """What the network returns for the rows of X, shape (n, n_outputs), float64."""
        check_is_fitted(self, "net_")
        inputs = self._as_in_fit(read_inputs(self, X, reset=False))
        return self.net_.outputs(inputs.data).astype("float64", copy=False)

    def _as_in_fit(self, inputs: Inputs) -> Inputs:
        """Compare the shapes of X with those in fit; codes new to tensors become 0."""
        n_static = inputs.data.static.shape[1]
        now, then = (
            _shapes(specs, inputs.encoded) for specs in (inputs.specs, self._specs)
        )
        if now != then or n_static != self._n_static:
            raise ValueError(
                f"X has histories of (channels, codes, encoder) {now} and {n_static} "
                f"statics and row features; {type(self).__name__} was fitted on {then} "
                f"and {self._n_static}. Use the encoder that was fitted with it."
            )
        return inputs if inputs.encoded else inputs.within(self._specs)

    def _poolings(self) -> tuple[str, ...]:
        """The poolings, one or several."""
        return (self.pooling,) if isinstance(self.pooling, str) else tuple(self.pooling)

    def _check_lists(self) -> None:
        """Check the parameters that are lists."""
        pooling = self._poolings()
        unknown = [name for name in pooling if name not in POOLINGS]
        if unknown or not len(pooling) or len(set(pooling)) < len(pooling):
            raise ValueError(
                f"pooling must be one or several different ones of {list(POOLINGS)}; "
                f"got {self.pooling!r}."
            )
        if not all(isinstance(n, int | np.integer) and n >= 1 for n in self.head_sizes):
            raise ValueError(
                f"head_sizes must be positive integers; got {self.head_sizes!r}."
            )

    def _start(
        self, X: Any, y: Any, sample_weight: Any, *, partial: bool = False
    ) -> tuple[Inputs, np.ndarray, np.ndarray | None]:
        """Validate parameters, rows, targets and weights."""
        self._validate_params()
        self._check_lists()
        _refuse_absent_device(self.device)
        if self.precision == "bfloat16":
            _refuse_absent_bfloat16(self.device)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        again = self._goes_on(partial)
        if again and torch.device(self.device) != torch.device(self.net_.device):
            raise ValueError(
                f"The network goes on on its device, {str(self.net_.device)!r}; got "
                f"device={str(self.device)!r}. Set it back, or fit from the start."
            )
        if not again and hasattr(self, "net_"):
            # Should this fit fail, what it sets until then would not go with it.
            del self.net_
        inputs = read_inputs(self, X, reset=not again)
        y = column_or_1d(y, warn=True)
        check_consistent_length(inputs.data.static, y)
        refuse_not_finite(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, inputs.data.static, ensure_non_negative=True
            )
            if not sample_weight.any():
                raise ValueError("sample_weight is zero for all rows.")
            sample_weight = sample_weight.astype("float64")
        exponent = 0 if sample_weight is None else exponent_of(sample_weight)
        if not again:
            self._weight_exponent = exponent
        if partial:
            # Weights of one call count beside those of others.
            exponent = self._weight_exponent
        if sample_weight is None and exponent:
            sample_weight = np.ones(len(y))
        if sample_weight is not None:
            sample_weight = in_unit(sample_weight, exponent)
        return inputs, y, sample_weight


def refuse_not_finite(y: np.ndarray) -> None:
    n_missing = int(pd.isna(y).sum())
    n_infinite = int(np.isinf(y).sum()) if y.dtype.kind == "f" else 0
    what = "NaN" if n_missing else "infinity"
    if n_missing or n_infinite:
        raise ValueError(
            f"Input y contains {what}: {n_missing or n_infinite} of {len(y)} targets "
            f"are {'missing' if n_missing else 'infinite'}; drop those rows from X and "
            "y."
        )


def _shapes(specs: Sequence[HistorySpec], encoded: bool) -> list[tuple[Any, ...]]:
    """What has to be equal in two of each; the levels, if an encoder settled them."""
    return [
        (spec.n_channels, spec.n_levels, spec.digest)
        if encoded
        else (spec.n_channels, len(spec.n_levels))
        for spec in specs
    ]


def _refuse_absent_device(device: str | torch.device) -> None:
    """Raise a ValueError for a device that this machine does not have."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # as torch was built
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={str(device)!r} cannot be used here ({reason}); "
            "set_params(device='cpu') trains on the processor."
        ) from error


def _refuse_absent_bfloat16(device: str | torch.device) -> None:
    """Raise a ValueError for a device that does not train in bfloat16."""
    if not trains_in_bfloat16(torch.device(device).type):
        raise ValueError(
            f"precision='bfloat16' cannot be used here (device {str(device)!r} does "
            "not train recurrent layers in it); set_params(precision='float32') trains "
            "on any device."
        )


def _of_any_weight(data: RowData, customers: np.ndarray) -> tuple[RowData, np.ndarray]:
    """Leave out rows of weight 0, which nothing may depend on."""
    if data.weight is None or (used := of_any_weight(data.weight)).all():
        return data, customers
    used = np.flatnonzero(used)
    return data.take(used), customers[used]


def _of_mean_weight(data: RowData) -> RowData:
    """The same rows with weights of mean 1, as the loss of the net wants them."""
    return data if data.weight is None else _weighted(data, data.weight.mean())


def _weighted(data: RowData, mean: float) -> RowData:
    """The same rows with their weights, 1 if there are none, over a mean."""
    if data.weight is None and mean == 1:
        return data
    weight = np.ones(len(data)) if data.weight is None else data.weight
    return replace(data, weight=over_mean(weight, mean))


def _warn_if_all_empty(inputs: Inputs) -> None:
    for name, source in zip(inputs.names, inputs.data.sources, strict=True):
        if not (source.stop > source.start).any():
            warnings.warn(
                f"All {len(source.start)} histories in {name!r} are empty, so that the "
                "model learns from statics alone. Do the customers and cutoffs of the "
                "rows fit those of the log?",
                UserWarning,
                stacklevel=4,
            )


def _say_nothing(*text: Any) -> None:
    """Where messages of callbacks go unless `verbose`."""
