"""The estimators: recurrent networks on histories and statics."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
)
from skorch.callbacks import EarlyStopping, GradientNormClipping

from sklearn_seqcrm.neural_network._batches import RowData
from sklearn_seqcrm.neural_network._inputs import Inputs, read_inputs
from sklearn_seqcrm.neural_network._module import (
    CELLS,
    POOLINGS,
    HistoryNetwork,
    HistorySpec,
)
from sklearn_seqcrm.neural_network._net import HistoryNet

# With fewer rows a validation part is too small to tell epochs apart.
_ROWS_TO_STOP_EARLY = 1000
# Longest gradient of a step; recurrent nets meet cliffs (Pascanu et al., 2013).
_MOST_GRADIENT = 1.0


class BaseLSTM(BaseEstimator):
    """What classifier and regressor share: inputs, training and outputs."""

    _parameter_constraints: dict[str, list[Any]] = {
        "cell": [StrOptions(set(CELLS))],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "num_layers": [Interval(Integral, 1, None, closed="left")],
        "bidirectional": ["boolean"],
        "pooling": [StrOptions(set(POOLINGS)), list, tuple],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "head_sizes": [list, tuple],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, tuple, None],
        "device": [str],
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
    ) -> Self:
        """Train the network on rows whose target is ready for the loss.

        Parameters
        ----------
        inputs : Inputs
            Rows of X.
        target : ndarray of shape (n,)
            Codes of classes (int64) or scaled numbers (float32).
        weight : ndarray of shape (n,) or None
            Weight of each row.
        n_outputs : int
            Number of outputs of the network.
        criterion : dict
            The loss as skorch parameters.
        bias : ndarray of shape (n_outputs,)
            What a network without inputs would best return, to start from.
        """
        pooling = self._check_lists()
        _warn_if_all_empty(inputs)
        rng = check_random_state(self.random_state)
        split_seed, shuffle_seed, torch_seed = rng.randint(2**31 - 1, size=3)
        if weight is not None:
            weight = weight.astype("float32")
        again = self.warm_start and hasattr(self, "net_")
        if again:
            inputs = self._as_in_fit(inputs)
        data = RowData(inputs.data.sources, inputs.data.static, target, weight)
        train, valid = self._split(data, inputs.customers, int(split_seed))
        cuda = [torch.device(self.device)] if self.device.startswith("cuda") else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(int(torch_seed))
            if again:
                self.net_.set_params(
                    lr=self.learning_rate,
                    batch_size=self.batch_size,
                    max_epochs=self.max_epochs,
                    verbose=self.verbose,
                )
            else:
                self._specs = inputs.specs
                self._n_static = inputs.data.static.shape[1]
                self.net_ = self._build(n_outputs, pooling, criterion)
                self.net_.initialize()
                with torch.no_grad():
                    last = self.net_.module_.head[-1]
                    last.bias.copy_(torch.from_numpy(bias.astype("float32")))
            self.net_.shuffle_seed = int(shuffle_seed)
            # set_params would take new callbacks without initializing them.
            self.net_.callbacks = self._callbacks(valid is not None)
            self.net_.initialize_callbacks()
            self.net_.partial_fit((train, valid))
        self.n_iter_ = len(self.net_.history)
        return self

    def _build(
        self, n_outputs: int, pooling: Sequence[str], criterion: dict[str, Any]
    ) -> HistoryNet:
        return HistoryNet(
            HistoryNetwork,
            module__specs=self._specs,
            module__n_static=self._n_static,
            module__n_outputs=n_outputs,
            module__cell=self.cell,
            module__hidden_size=self.hidden_size,
            module__num_layers=self.num_layers,
            module__bidirectional=self.bidirectional,
            module__pooling=tuple(pooling),
            module__dropout=self.dropout,
            module__head_sizes=tuple(self.head_sizes),
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=self.weight_decay,
            lr=self.learning_rate,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
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
        callbacks: list[Any] = [
            ("clip_gradients", GradientNormClipping(_MOST_GRADIENT)),
            *(copy.deepcopy(callback) for callback in self.callbacks or ()),
        ]
        if with_validation:
            stop = EarlyStopping(
                patience=self.n_iter_no_change,
                load_best=True,
                sink=print if self.verbose else _say_nothing,
            )
            callbacks.append(("stop_early", stop))
        return callbacks

    def _split(
        self, data: RowData, customers: np.ndarray, seed: int
    ) -> tuple[RowData, RowData | None]:
        """Set rows aside for early stopping, all rows of a customer or none."""
        if data.weight is not None and not data.weight.all():
            used = np.flatnonzero(data.weight)
            data, customers = data.take(used), customers[used]
        n_customers = len(np.unique(customers))
        wanted = self.early_stopping
        if wanted == "auto":
            wanted = len(data) >= _ROWS_TO_STOP_EARLY and n_customers > 1
        if not wanted:
            return data, None
        if n_customers < 2:
            raise ValueError(
                "early_stopping=True sets customers aside for validation, but all "
                f"{len(data)} rows belong to one customer; use early_stopping=False."
            )
        splitter = GroupShuffleSplit(
            1, test_size=self.validation_fraction, random_state=seed
        )
        train, valid = next(splitter.split(data.static, groups=customers))
        return data.take(train), data.take(valid)

    def _outputs(self, X: Any) -> np.ndarray:
        """What the network returns for the rows of X, shape (n, n_outputs), float64."""
        check_is_fitted(self)
        inputs = self._as_in_fit(read_inputs(self, X, reset=False))
        return self.net_.outputs(inputs.data).astype("float64")

    def _as_in_fit(self, inputs: Inputs) -> Inputs:
        """Compare the shapes of X with those in fit; codes new to tensors become 0."""
        n_static = inputs.data.static.shape[1]
        now, then = (
            _shapes(specs, inputs.encoded) for specs in (inputs.specs, self._specs)
        )
        if now != then or n_static != self._n_static:
            raise ValueError(
                f"X has histories of (channels, codes) {now} and {n_static} statics "
                f"and row features; {type(self).__name__} was fitted on {then} and "
                f"{self._n_static}. Use the encoder that was fitted with it."
            )
        return inputs if inputs.encoded else inputs.within(self._specs)

    def _check_lists(self) -> tuple[str, ...]:
        """Check the parameters that are lists, and return the poolings."""
        pooling = (self.pooling,) if isinstance(self.pooling, str) else self.pooling
        unknown = [name for name in pooling if name not in POOLINGS]
        if unknown or not len(pooling) or len(set(pooling)) < len(pooling):
            raise ValueError(
                f"pooling must be one or several different ones of {list(POOLINGS)}; "
                f"got {self.pooling!r}."
            )
        if not all(isinstance(n, Integral) and n >= 1 for n in self.head_sizes):
            raise ValueError(
                f"head_sizes must be positive integers; got {self.head_sizes!r}."
            )
        return tuple(pooling)

    def _start(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[Inputs, np.ndarray, np.ndarray | None]:
        """Validate parameters, rows, targets and weights."""
        self._validate_params()
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        again = self.warm_start and hasattr(self, "net_")
        inputs = read_inputs(self, X, reset=not again)
        y = column_or_1d(y, warn=True)
        check_consistent_length(inputs.data.static, y)
        _refuse_not_finite(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, inputs.data.static, ensure_non_negative=True
            )
            if not sample_weight.any():
                raise ValueError("sample_weight is zero for all rows.")
        return inputs, y, sample_weight


class LSTMClassifier(ClassifierMixin, BaseLSTM):
    """Classify customers by their histories and statics with a recurrent network.

    A recurrent network reads the events of each history; what a row sees of its
    outputs is pooled into one vector, joined with the row's other features (time since
    the last event, number of events, decayed counts, statics), and read by a small
    feed-forward head.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}, default="lstm"
        Kind of recurrent cell. On CPUs only ``"lstm"`` has fast kernels.
    hidden_size : int, default=64
        Size of the recurrent state.
    num_layers : int, default=1
        Number of recurrent layers.
    bidirectional : bool, default=False
        Also read each history backwards. Rows of one customer then cannot share a
        pass, which costs as many times more as a customer has rows.
    pooling : str or list of str, default=("last", "mean", "decay")
        What a row reads of the outputs up to its cutoff: ``"last"``, ``"mean"``,
        ``"max"``, ``"attention"`` (a learned weighting), ``"decay"`` (means faded by
        age, one for each half-life of the encoder).
    dropout : float, default=0.3
        Share of units that training drops between layers, and in the head.
    head_sizes : list of int, default=(64,)
        Sizes of the hidden layers of the head; empty for a linear one.
    learning_rate : float, default=0.002
        Step size of AdamW.
    weight_decay : float, default=0.01
        Decoupled weight decay of AdamW.
    batch_size : int, default=128
        Rows in a batch. Very long histories make smaller batches.
    max_epochs : int, default=50
        Most passes over the training rows.
    early_stopping : bool or "auto", default="auto"
        Set customers aside, all rows of each, stop when their loss no longer falls,
        and go back to the best epoch. ``"auto"``: with 1,000 rows or more.
    validation_fraction : float, default=0.1
        Share of the customers that are set aside.
    n_iter_no_change : int, default=5
        Epochs without improvement after which training stops.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as in scikit-learn.
    callbacks : list of skorch callbacks or None, default=None
        Called during training; each fit works on copies.
    device : str, default="cpu"
        Device of torch, such as ``"cuda"``.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the batches, the dropout and the validation split. An int
        makes runs on a CPU repeat exactly.
    warm_start : bool, default=False
        Go on from the network of the last fit, for `max_epochs` more.
    verbose : int, default=0
        1 prints a line for each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    net_ : skorch.NeuralNet
        The trained net; ``net_.history`` has the losses of each epoch.
    n_iter_ : int
        Number of epochs run.
    n_features_in_ : int
        Number of columns seen in `fit`; not set for padded tensors.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names, if `X` was a DataFrame.

    See Also
    --------
    make_history_pipeline : Everything that has to come before, for raw `X`.
    LSTMRegressor : The same for numbers.

    Notes
    -----
    `X` has one of three forms: a DataFrame with encoded history columns and numeric
    statics, the padded tensors of `HistoryPadder`, or a plain array, which is statics
    without a history. Rows give the same predictions in the first two.

    Rows of one customer at several cutoffs share their events, and are trained and
    scored in one pass over them.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation
    9(8), 1997. https://doi.org/10.1162/neco.1997.9.8.1735

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> journeys = make_customer_journeys(200, random_state=0)
    >>> log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(journeys.rows, cutoff="cutoff")
    >>> model = make_history_pipeline(LSTMClassifier(max_epochs=3, random_state=0))
    >>> model.fit(X, journeys.target).predict_proba(X).shape
    (200, 2)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **BaseLSTM._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        *,
        cell: str = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        pooling: str | Sequence[str] = ("last", "mean", "decay"),
        dropout: float = 0.3,
        head_sizes: Sequence[int] = (64,),
        learning_rate: float = 0.002,
        weight_decay: float = 0.01,
        batch_size: int = 128,
        max_epochs: int = 50,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: Any = None,
        callbacks: Sequence[Any] | None = None,
        device: str = "cpu",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.dropout = dropout
        self.head_sizes = head_sizes
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows with known classes.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of the class.
        y : array-like of shape (n,)
            Class labels, of two classes or more.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMClassifier
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, or a static is no number.
        ValueError
            If `y` has one class or missing values, or a parameter is out of range.
        """
        inputs, y, weight = self._start(X, y, sample_weight)
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes in y; got 1 class, "
                f"{classes.tolist()[0]!r}, in all {len(y)} rows."
            )
        if (
            self.warm_start
            and hasattr(self, "net_")
            and (not np.array_equal(classes, self.classes_))
        ):
            raise ValueError(
                f"warm_start needs the classes of the last fit, {self.classes_}; got "
                f"{classes}."
            )
        self.classes_ = classes
        if self.class_weight is not None:
            of_class = compute_class_weight(self.class_weight, classes=classes, y=y)
            weight = of_class[codes] * (1.0 if weight is None else weight)
        share = np.bincount(codes, weight, minlength=len(classes)) + 1e-6
        return self._fit(
            inputs,
            codes.astype("int64"),
            weight,
            len(classes),
            {"criterion": torch.nn.CrossEntropyLoss, "criterion__reduction": "none"},
            np.log(share / share.sum()),
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of the class.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Probabilities in the order of `classes_`.
        """
        outputs = self._outputs(X)
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of the class.

        Returns
        -------
        ndarray of shape (n,)
            Class labels.
        """
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(axis=1)]


class LSTMRegressor(RegressorMixin, BaseLSTM):
    """Predict numbers from histories and statics with a recurrent network.

    The network of `LSTMClassifier` with one output. Targets are centred and scaled for
    training, and predictions scaled back.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}, default="lstm"
        Kind of recurrent cell. On CPUs only ``"lstm"`` has fast kernels.
    hidden_size : int, default=64
        Size of the recurrent state.
    num_layers : int, default=1
        Number of recurrent layers.
    bidirectional : bool, default=False
        Also read each history backwards. Rows of one customer then cannot share a
        pass, which costs as many times more as a customer has rows.
    pooling : str or list of str, default=("last", "mean", "decay")
        What a row reads of the outputs up to its cutoff: ``"last"``, ``"mean"``,
        ``"max"``, ``"attention"`` (a learned weighting), ``"decay"`` (means faded by
        age, one for each half-life of the encoder).
    dropout : float, default=0.3
        Share of units that training drops between layers, and in the head.
    head_sizes : list of int, default=(64,)
        Sizes of the hidden layers of the head; empty for a linear one.
    learning_rate : float, default=0.002
        Step size of AdamW.
    weight_decay : float, default=0.01
        Decoupled weight decay of AdamW.
    batch_size : int, default=128
        Rows in a batch. Very long histories make smaller batches.
    max_epochs : int, default=50
        Most passes over the training rows.
    early_stopping : bool or "auto", default="auto"
        Set customers aside, all rows of each, stop when their loss no longer falls,
        and go back to the best epoch. ``"auto"``: with 1,000 rows or more.
    validation_fraction : float, default=0.1
        Share of the customers that are set aside.
    n_iter_no_change : int, default=5
        Epochs without improvement after which training stops.
    loss : {"squared_error", "absolute_error", "poisson"}, default="squared_error"
        What is minimised: a prediction of the mean, of the median, or of the mean of
        counts and amounts that are not negative, through a logarithmic link.
    callbacks : list of skorch callbacks or None, default=None
        Called during training; each fit works on copies.
    device : str, default="cpu"
        Device of torch, such as ``"cuda"``.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the batches, the dropout and the validation split. An int
        makes runs on a CPU repeat exactly.
    warm_start : bool, default=False
        Go on from the network of the last fit, for `max_epochs` more.
    verbose : int, default=0
        1 prints a line for each epoch.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.history`` has the losses of each epoch.
    n_iter_ : int
        Number of epochs run.
    n_features_in_ : int
        Number of columns seen in `fit`; not set for padded tensors.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names, if `X` was a DataFrame.

    See Also
    --------
    make_history_pipeline : Everything that has to come before, for raw `X`.
    LSTMClassifier : The same for classes, with notes on the forms of `X`.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMRegressor
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> journeys = make_customer_journeys(200, random_state=0)
    >>> log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(journeys.rows, cutoff="cutoff")
    >>> model = make_history_pipeline(LSTMRegressor(max_epochs=3, random_state=0))
    >>> model.fit(X, X["history"].array.lengths).predict(X).shape
    (200,)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **BaseLSTM._parameter_constraints,
        "loss": [StrOptions({"squared_error", "absolute_error", "poisson"})],
    }

    def __init__(
        self,
        *,
        cell: str = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        pooling: str | Sequence[str] = ("last", "mean", "decay"),
        dropout: float = 0.3,
        head_sizes: Sequence[int] = (64,),
        learning_rate: float = 0.002,
        weight_decay: float = 0.01,
        batch_size: int = 128,
        max_epochs: int = 50,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        loss: str = "squared_error",
        callbacks: Sequence[Any] | None = None,
        device: str = "cpu",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.dropout = dropout
        self.head_sizes = head_sizes
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.loss = loss
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows with known targets.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        y : array-like of shape (n,)
            Numbers, not negative for the Poisson loss.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMRegressor
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, or a static is no number.
        ValueError
            If `y` has missing, infinite or, for the Poisson loss, negative values, or
            a parameter is out of range.
        """
        inputs, y, weight = self._start(X, y, sample_weight)
        y = np.asarray(y, dtype="float64")
        _refuse_not_finite(y)  # numbers may have been objects before
        if not (self.warm_start and hasattr(self, "net_")):
            self._center, self._scale = _center_and_scale(y, weight, self.loss)
        if self.loss == "poisson":
            _refuse_negative(y)
            bias, target = self._center, y / self._scale
        else:
            bias, target = 0.0, (y - self._center) / self._scale
        loss, parameters = _LOSSES[self.loss]
        return self._fit(
            inputs,
            target.astype("float32"),
            weight,
            1,
            {"criterion": loss, "criterion__reduction": "none", **parameters},
            np.array([bias]),
        )

    def predict(self, X: Any) -> np.ndarray:
        """Predict the target.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.

        Returns
        -------
        ndarray of shape (n,)
            Predictions in the units of `y`.
        """
        output = self._outputs(X)[:, 0]
        if self.loss == "poisson":
            return np.exp(output) * self._scale
        return output * self._scale + self._center


_LOSSES: dict[str, tuple[type[torch.nn.Module], dict[str, Any]]] = {
    "squared_error": (torch.nn.MSELoss, {}),
    "absolute_error": (torch.nn.L1Loss, {}),
    "poisson": (torch.nn.PoissonNLLLoss, {"criterion__log_input": True}),
}


def _center_and_scale(
    y: np.ndarray, weight: np.ndarray | None, loss: str
) -> tuple[float, float]:
    """Bring targets to where a fresh network is: about 0, about 1 wide.

    The Poisson loss keeps its meaning under a change of the unit of `y` only, so that
    there the mean is the unit, and the center of its logarithm is 0.
    """
    mean = float(np.average(y, weights=weight))
    if loss == "poisson":
        return 0.0, mean or 1.0
    center = _median(y, weight) if loss == "absolute_error" else mean
    spread = float(np.sqrt(np.average((y - center) ** 2, weights=weight)))
    return center, spread or 1.0


def _median(y: np.ndarray, weight: np.ndarray | None) -> float:
    """The smallest target that half of the weight does not exceed."""
    order = np.argsort(y, kind="stable")
    below = np.cumsum(np.ones(len(y)) if weight is None else weight[order])
    return float(y[order][np.searchsorted(below, below[-1] / 2)])


def _refuse_not_finite(y: np.ndarray) -> None:
    n_missing = int(pd.isna(y).sum())
    n_infinite = int(np.isinf(y).sum()) if y.dtype.kind == "f" else 0
    what = "NaN" if n_missing else "infinity"
    if n_missing or n_infinite:
        raise ValueError(
            f"Input y contains {what}: {n_missing or n_infinite} of {len(y)} targets "
            f"are {'missing' if n_missing else 'infinite'}; drop those rows from X and "
            "y."
        )


def _refuse_negative(y: np.ndarray) -> None:
    n_negative = int((y < 0).sum())
    if n_negative or not y.any():
        wrong = f"{n_negative} of {len(y)} are negative" if n_negative else "all are 0"
        raise ValueError(
            "The Poisson loss needs targets that are not negative and not all zero; "
            f"{wrong}. Use loss='squared_error'."
        )


def _shapes(specs: Sequence[HistorySpec], encoded: bool) -> list[tuple[int, Any]]:
    """What has to be equal in two of each; the levels, if an encoder settled them."""
    return [
        (spec.n_channels, spec.n_levels if encoded else len(spec.n_levels))
        for spec in specs
    ]


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
