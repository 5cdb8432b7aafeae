"""Predict numbers from histories."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from skorch.callbacks import Callback

from sklearn_seqcrm._recurrent.data import Inputs, RowData
from sklearn_seqcrm._recurrent.explain import PathAttributions
from sklearn_seqcrm._recurrent.objectives import (
    LOSSES,
    Exposure,
    Number,
    Quantiles,
    check_quantiles,
)
from sklearn_seqcrm._recurrent.training import Cell, Pooling
from sklearn_seqcrm._sklearn_compat import StrOptions, with_callbacks
from sklearn_seqcrm._typing import Duration, Estimator, RowsLike
from sklearn_seqcrm.neural_network._base import BaseLSTM


def _predicts(method: str) -> Any:
    """Make a method available for losses whose objective has it."""

    def check(model: LSTMRegressor) -> bool:
        having = [name for name, loss in LOSSES.items() if hasattr(loss, method)]
        # A parameter that was set after `fit` applies to the next one.
        fitted = getattr(model, "_objective", None)
        loss = model.loss if fitted is None else fitted.name
        if loss not in having:
            raise AttributeError(
                f"loss={loss!r} has no {method}; the losses {having} have it"
            )
        return True

    return available_if(check)


class LSTMRegressor(MultiOutputMixin, RegressorMixin, BaseLSTM):
    """Predict numbers from histories and statics with a recurrent network.

    The network of `LSTMClassifier` with other outputs. Targets of any size in float64
    are centred and scaled for training, and predictions are scaled back.

    `LSTMClassifier` describes the parameters of the network and of its training in
    more detail.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}, default="lstm"
        Recurrent cell. On CPUs, only ``"lstm"`` has fast kernels.
    hidden_size : int, default=64
        Size of the recurrent state.
    num_layers : int, default=1
        Number of recurrent layers.
    bidirectional : bool, default=False
        Also process each history backwards. Rows of one customer then cannot share a
        pass, which takes longer.
    pooling : str or list of str, default=("last", "mean", "decay")
        Pooling of the outputs up to the cutoff of a row: ``"last"``, ``"mean"``,
        ``"max"``, ``"attention"``, ``"decay"``.
    bptt_steps : int or None, default=None
        Number of events after which training cuts a history, to save memory; None: no
        cut.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the recurrent layers. ``"bfloat16"`` needs a processor or GPU that
        supports it.
    dropout : float, default=0.3
        Dropout probability, between recurrent layers and in the head.
    category_dropout : float, default=0.0
        Probability that an event's level is masked in training.
    head_sizes : array-like of int, default=(64,)
        Sizes of the hidden layers of the head; empty for a linear one.
    static_pieces : int, default=16
        Largest number of pieces into which the head cuts the range of each numeric
        static; 1 cuts nothing.
    learning_rate : float, default=0.002
        Step size of AdamW.
    weight_decay : float, default=0.01
        Decoupled weight decay of AdamW.
    n_networks : int or "auto", default="auto"
        Size of the ensemble, whose predictions are averaged. ``"auto"``: up to 5 with
        little data, and 1 with `callbacks` and in `partial_fit`.
    averaged_steps : int, default=200
        Steps over which weights are averaged exponentially; 1: those of the last step.
    batch_size : int or "auto", default="auto"
        Rows in a training step. ``"auto"``: 128, or by the numbers of rows and
        customers and by early stopping, as in `LSTMClassifier`.
    max_epochs : int or "auto", default="auto"
        Most passes over the training rows. ``"auto"``: 50 with early stopping, and 8
        without it, where more epochs overfit.
    early_stopping : bool or "auto", default="auto"
        Set rows aside (see `validation`), and stop when their loss no longer falls.
        ``"auto"``: with at least 50 customers, or 1,000 rows.
    validation : {"auto", "forward", "customers"}, default="auto"
        Rows that are set aside: ``"forward"`` in time, those at the latest cutoffs, or
        all rows of some ``"customers"``. ``"auto"``: forward if that is possible; see
        the Notes of `LSTMClassifier`.
    horizon : Timedelta, str, number or None, default=None
        Time from a cutoff until the label of its row is known, including the gap of the
        target. None: that of `y`, if it is a target of `sklearn_seqcrm.targets`. Set
        it to the longest one if `y` was computed from several targets.
    validation_fraction : float or "auto", default="auto"
        Share of the customers set aside. ``"auto"``: 0.1 or, if that is less than 100
        customers, up to 0.2. Forward in time: least share of the rows; ``"auto"``:
        0.05.
    refit : bool, default=True
        After validation forward in time, train a new network on all rows. With
        ``loss="squared_error"``, ``"poisson"`` or ``"gamma"``, its learning rate falls
        linearly to 0 in the second half of the epochs. False: return to the weights of
        the best epoch.
    select_fields : bool, "auto" or "half", default="auto"
        Which fields of events networks do not see. False: none. ``"auto"``: those of
        many levels with few events, whose linear effects do not predict the target for
        other customers. With `refit`, forward in time, True also leaves out fields that
        do not help, and ``"half"`` all fields in half of the networks, if that lowers
        the validation loss; a fit takes up to three times as long. Use neither for
        spend, where few large amounts decide the loss.
    n_iter_no_change : int, default=5
        Epochs without improvement after which training stops.
    loss : str, default="squared_error"
        Loss, which determines what is predicted: ``"squared_error"`` the mean;
        ``"absolute_error"`` the median; with a logarithmic link ``"poisson"`` the mean
        of counts and other targets that are not negative, and ``"gamma"`` the mean of
        positive amounts; ``"quantile"`` the quantiles `quantile`;
        ``"zero_inflated_lognormal"`` the mean, the quantiles and the probability of 0
        of amounts that are often 0 and heavy-tailed.
    quantile : float or list of float, default=0.5
        For ``loss="quantile"``: one or several quantiles between 0 and 1, ascending. Of
        several, `predict` returns the one next to the median, and `predict_quantiles`
        all of them; they never cross.
    exposure : str, int or None, default=None
        Column of `X` with the exposure of each row, larger than 0: the length of time
        over which its target was counted, or another quantity that the target is
        proportional to. For arrays its position; for padded tensors the position in
        ``static``, where statics follow row features: -1 is the last static. A
        prediction is for the exposure of its row: ``X.assign(days=90)``. Durations
        become days, also in padded tensors; after durations in `fit`, numbers are days.
        Arrays and tensors have no unit: predict with the unit of `fit`. For
        ``"poisson"``, ``"gamma"`` and ``"zero_inflated_lognormal"``. None: all rows
        have the same exposure.
    callbacks : list of skorch callbacks or None, default=None
        Called during training; each fit uses copies. Callbacks that monitor the
        validation loss need ``early_stopping=True`` and, forward in time,
        ``refit=False``.
    device : str or torch.device, default="cpu"
        Device of torch, such as ``"cuda"``.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the batches, the dropout and the validation split.
    pretrained : fitted LSTMEventModel or None, default=None
        Event model that provides the initial weights of the embeddings and recurrent
        layers, as in `LSTMClassifier`. It has the same `cell`, `hidden_size` and
        `num_layers`, and must not have seen events of a test period.
    warm_start : bool, default=False
        Continue training the networks of the last fit for `max_epochs` more.
        Architecture and number of the networks, loss, weight decay and device must not
        change.
    verbose : int, default=0
        1 prints a line for each training, and one for each of its epochs.

    Attributes
    ----------
    nets_ : list of skorch.NeuralNet
        The trained nets.
    n_networks_ : int
        Number of these nets.
    net_ : skorch.NeuralNet
        First of the nets; ``net_.history`` has the losses of each epoch.
    n_iter_ : int
        Number of epochs; the largest of several networks.
    n_outputs_ : int
        Number of targets of a row.
    validation_ : dict
        Which rows were set aside, and why; `LSTMClassifier` lists the keys.
    batch_size_ : int
        Rows in a step of the last training.
    n_features_in_ : int
        Number of columns seen in `fit`; not set for padded tensors.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names, if `X` was a DataFrame.

    See Also
    --------
    make_history_pipeline : Pipeline of the required preprocessing, for raw `X`.
    LSTMClassifier : Classification with the same network; notes on the forms of `X`.
    stack_horizons : Makes rows with an exposure of targets on several horizons.

    Notes
    -----
    Several targets, `y` of shape (n, k), are predicted by one network, in that shape.
    Each is scaled by itself, and the loss of a row is the mean over its targets, so
    that they have equal weight whatever their units.

    **Squared errors**: the network has a linear part beside its head, a weighted sum of
    row features, statics and, for each numeric field of the events, its raw sum,
    decayed by each half-life of the encoder. It starts as a ridge regression on the
    training rows, and the rest of the network learns the residuals. All other inputs
    are compressed by a symlog, which makes customers who buy for a hundred times the
    usual amount only a few times as large, while they dominate a squared error.

    **Exposure**: means are proportional to the exposure ``e`` of the row. Its logarithm
    is added to the logarithm of the mean: the offset of generalised linear models,
    which for counts is equivalent to the target ``y / e`` with the weight ``e``. At the
    end of `fit`, each network learns a slope close to 1 from all rows, so that means
    are proportional to ``e ** slope``: customers leave, and twice the time brings less
    than twice as much. With ``"zero_inflated_lognormal"`` the rate is proportional to
    it, and the probability of 0 is ``exp(-rate * e ** slope)``. The exposure is a
    column and not an argument, because only columns are available to prediction,
    splitting and scoring. It is not an input of the network. To let the network learn
    deviations from proportionality, for predictions within the range of known
    exposures, add the column a second time under another name.

    **Poisson and gamma**: every second of several networks has a linear part in the
    logarithm of the mean, which takes logarithms of the sums, and bounds its inputs by
    those of the first training. It starts as a Poisson or gamma regression. A single
    network has none: set `n_networks` to 2 or more if counts differ much between
    customers. `predict` returns ``c * mean``. The calibration factor
    ``c``, one number close to 1, is learned at the end of `fit` from all rows. With
    it, as at the minimum of the loss, their predictions add up to their targets (gamma:
    targets over predictions have the mean 1), to about 1e-6 of the total.

    **Zero-inflated log-normal**: with probability ``p`` a target is an amount whose
    logarithm is normal with mean ``m`` and standard deviation ``s``, and otherwise 0.
    `predict` returns ``c * p * exp(m + s**2 / 2)``. This mean depends on a tail
    with few training rows. The calibration factor ``c``, learned at the end of
    `fit`, corrects it. Predictions of the training rows need not add up to their
    targets: with the total ``r`` of the targets over the total of the means, and the
    standard error ``e`` of ``log(r)``, ``c = r ** (0.04 / (0.04 + e**2))``, which
    is shrunken towards 1 where few rows have most of the total. In simulations with
    log-normal amounts the totals differed by 0.2 to 21% with 500 rows, and by 0.1 to 2%
    with 5,000. ``s`` is at most twice the standard deviation of the logarithms of all
    amounts.

    **Quantiles**: targets are transformed by an inverse hyperbolic sine, which is
    logarithmic for large ones. Distances between adjacent quantiles are parametrised to
    be positive. At the end of `fit` each transformed quantile is shifted by a constant,
    so that the intended share of all rows lies below it.

    References
    ----------
    X. Wang, T. Liu and J. Miao, "A Deep Probabilistic Model for Customer Lifetime
    Value Prediction", 2019. https://arxiv.org/abs/1912.07753

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

    Quantiles of amounts that are often 0:

    >>> model = model.set_params(estimator__loss="zero_inflated_lognormal")
    >>> model = model.fit(X, X["history"].array.lengths)
    >>> model.predict_quantiles(X, [0.1, 0.5, 0.9]).shape
    (200, 3)
    """

    _objective: Number
    _exposure: Exposure | None

    _parameter_constraints: dict[str, Any] = {
        **BaseLSTM._parameter_constraints,
        "loss": [StrOptions(set(LOSSES))],
        "quantile": [Real, "array-like"],
        "exposure": [str, Integral, None],
    }

    def __init__(
        self,
        *,
        cell: Cell = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        pooling: Pooling | Sequence[Pooling] = ("last", "mean", "decay"),
        bptt_steps: int | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
        dropout: float = 0.3,
        category_dropout: float = 0.0,
        head_sizes: Sequence[int] = (64,),
        static_pieces: int = 16,
        learning_rate: float = 0.002,
        weight_decay: float = 0.01,
        n_networks: int | Literal["auto"] = "auto",
        averaged_steps: int = 200,
        batch_size: int | Literal["auto"] = "auto",
        max_epochs: int | Literal["auto"] = "auto",
        early_stopping: bool | Literal["auto"] = "auto",
        validation: Literal["auto", "forward", "customers"] = "auto",
        horizon: Duration | None = None,
        validation_fraction: float | Literal["auto"] = "auto",
        refit: bool = True,
        select_fields: bool | Literal["auto", "half"] = "auto",
        n_iter_no_change: int = 5,
        loss: Literal[
            "squared_error",
            "absolute_error",
            "poisson",
            "gamma",
            "quantile",
            "zero_inflated_lognormal",
        ] = "squared_error",
        quantile: float | Sequence[float] = 0.5,
        exposure: str | int | None = None,
        callbacks: Sequence[Callback | tuple[str, Callback]] | None = None,
        device: str | torch.device = "cpu",
        random_state: int | np.random.RandomState | None = None,
        pretrained: Estimator | None = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.bptt_steps = bptt_steps
        self.precision = precision
        self.dropout = dropout
        self.category_dropout = category_dropout
        self.head_sizes = head_sizes
        self.static_pieces = static_pieces
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.n_networks = n_networks
        self.averaged_steps = averaged_steps
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation = validation
        self.horizon = horizon
        self.validation_fraction = validation_fraction
        self.refit = refit
        self.select_fields = select_fields
        self.n_iter_no_change = n_iter_no_change
        self.loss = loss
        self.quantile = quantile
        self.exposure = exposure
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.pretrained = pretrained
        self.warm_start = warm_start
        self.verbose = verbose

    @with_callbacks
    def fit(
        self, X: RowsLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train on rows with known targets.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        y : array-like of shape (n,) or (n, k)
            Numbers, not negative for the Poisson and the zero-inflated log-normal
            loss, larger than 0 for the gamma loss.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMRegressor
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, a static is not numeric, `y` holds durations,
            datetimes or text, `horizon` does not fit the times of the log, or
            `callbacks` has one that is not a callback of skorch.
        ValueError
            If `y` has missing or infinite values, or ones that the loss does not take,
            a parameter is out of range, ``validation="forward"`` is impossible,
            `pretrained` has other events or sizes, there is no column `exposure` or it
            is not larger than 0 in a row with a weight, training diverges, or the
            machine lacks `device` or, to train, `precision`.
        """
        self._check_parameters()
        return self._fit(X, y, sample_weight, self._new_objective())

    def partial_fit(
        self, X: RowsLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train one more epoch on rows.

        For rows that arrive over time, encoded by the same `HistoryEncoder`. No rows
        are set aside; `max_epochs`, early stopping and scikit-learn's callbacks do not
        apply. Weights are relative to those of all calls, not of one call. The first
        call settles how targets are scaled, so that its rows should be like those to
        come.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        y : array-like of shape (n,) or (n, k)
            As in `fit`.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMRegressor
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError
            As in `fit`.
        """
        self._check_parameters()
        return self._partial_fit(X, y, sample_weight, self._new_objective())

    def predict(self, X: RowsLike) -> np.ndarray:
        """Predict the target.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            Predictions in the units and the shape of `y`. Of several quantiles, the
            one next to the median.
        """
        return self._combined(self._fitted_objective.predict, X)

    @_predicts("predict_quantiles")
    def predict_quantiles(
        self, X: RowsLike, quantiles: ArrayLike | None = None
    ) -> np.ndarray:
        """Predict quantiles of the target.

        Only for ``loss="quantile"`` and ``"zero_inflated_lognormal"``.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        quantiles : float, array-like of shape (q,) or None, default=None
            Quantiles between 0 and 1, in any order. None: those of `quantile`. For
            ``loss="quantile"``, some of these.

        Returns
        -------
        ndarray of shape (n, q) or (n, k, q)
            A quantile in each column, in the units of `y`, which do not cross. Of
            several networks, means of their quantiles or, for
            ``"zero_inflated_lognormal"``, quantiles of their mean distribution.

        Raises
        ------
        ValueError
            If quantiles are not between 0 and 1, or were not learned.
        """
        q = self.quantile if quantiles is None else quantiles
        return self._combined(self._fitted_objective.predict_quantiles, X, q)

    @_predicts("predict_proba_zero")
    def predict_proba_zero(self, X: RowsLike) -> np.ndarray:
        """Predict the probability that the target is 0.

        Only for ``loss="zero_inflated_lognormal"``.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            Probabilities.
        """
        return self._combined(self._fitted_objective.predict_proba_zero, X)

    def _new_objective(self) -> Number:
        """Return the objective that the parameters define."""
        loss = LOSSES[self.loss]
        # A mean with an identity link is not proportional to an exposure.
        if self.exposure is not None and not loss.offset_parameters:
            rates = [name for name in LOSSES if LOSSES[name].offset_parameters]
            raise ValueError(
                f"exposure={self.exposure!r} goes with the losses {rates}; for "
                f"loss={self.loss!r} leave the column among the statics."
            )
        check_quantiles(self.quantile)
        return Quantiles(self.quantile) if loss is Quantiles else loss()

    # Offsets: logarithms of exposures -----------------------------------------------

    def _learn_offset(self, inputs: Inputs, weight: np.ndarray | None) -> None:
        self._exposure = None
        if self.exposure is None:
            return
        # Names of the statics: `_roles` has those of a DataFrame with histories, and
        # scikit-learn stores those of a DataFrame without.
        names = getattr(self, "feature_names_in_", None)
        if hasattr(self, "_roles"):
            names = self._roles.statics
        self._exposure = Exposure.learn(
            self.exposure, names, inputs.data, weight, self._ranks
        )

    def _with_offset(self, inputs: Inputs, sample_weight: Any = None) -> Inputs:
        if self._exposure is None:
            return inputs
        data = self._exposure.to_offset(inputs.data, sample_weight)
        return inputs._replace(data=data)

    def _offset_outputs(self) -> tuple[int, ...]:
        return () if self._exposure is None else self._objective.offset_outputs

    def _outputs_with_learned_slopes(self, data: RowData) -> list[np.ndarray]:
        outputs = self._outputs_of(data)
        if data.offset is None:
            return outputs
        offset = data.offset.astype("float64")[:, None]  # (n, 1)
        first = np.zeros(self._objective.n_outputs, dtype="float32")
        first[list(self._objective.offset_outputs)] = 1.0
        for i, net in enumerate(self.nets_):
            # Starts from slopes of 1, and not from those of an earlier fit: the
            # shrinkage towards 1 would lose its effect over repeated fits.
            slope = net.module_.slope
            as_is = outputs[i] - offset * (slope.cpu().numpy() - first)
            excess = self._objective.offset_slope_excess(
                as_is, data.target, data.weight, offset[:, 0]
            )
            # In float64 here, which the network rounds to float32.
            slope.copy_(torch.from_numpy((first + excess).astype("float32")))
            outputs[i] = as_is + offset * excess  # (n, n_outputs)
        return outputs

    def _integrated_gradients(self, *args: Any, **kwargs: Any) -> PathAttributions:
        found = super()._integrated_gradients(*args, **kwargs)
        if self._exposure is not None:
            static, offset = found.beside["static"], found.beside["offset"]
            column = self._exposure.column
            # Back to the position of the exposure in X.
            found.beside["static"] = np.insert(static, column, offset, axis=1)
        return found
