"""Effects of treatments on numbers, from histories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from skorch.callbacks import Callback

from sklearn_seqcrm._recurrent.objectives import (
    LOSSES,
    LOSSES_OF_MEANS,
    Number,
    OutcomesByTreatment,
)
from sklearn_seqcrm._recurrent.training import Cell, Pooling
from sklearn_seqcrm._sklearn_compat import StrOptions
from sklearn_seqcrm._typing import Duration, Estimator, RowsLike
from sklearn_seqcrm.neural_network._base_uplift import BaseLSTMUplift


class LSTMUpliftRegressor(BaseLSTMUplift):
    """Predict effects of treatments on numbers, such as spend.

    The network of `LSTMUpliftClassifier` with the losses of `LSTMRegressor`. `predict`
    returns the difference between the means under a treatment and under the control.

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
        Size of the ensemble, whose effects are averaged. ``"auto"``: up to 5 with
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
        the validation loss; a fit takes up to three times as long.
    n_iter_no_change : int, default=5
        Epochs without improvement after which training stops.
    control : int, float, bool, str or None, default=None
        Treatment of the rows that were not contacted, with which others are compared.
        None: 0 or False, for treatments 0 and 1, or False and True.
    confidence_level : float, default=0.9
        Probability of the intervals of `predict_interval`, between 0 and 1.
    loss : {"squared_error", "poisson", "gamma", "zero_inflated_lognormal"}, \
            default="squared_error"
        Loss of the outcomes of each treatment, of which all predict the mean, as in
        `LSTMRegressor`.
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
    treatments_ : ndarray of shape (n_arms,)
        Labels of the treatments: the control first, then the others, sorted.
    nets_ : list of skorch.NeuralNet
        The trained nets.
    n_networks_ : int
        Number of these nets.
    net_ : skorch.NeuralNet
        First of the nets; ``net_.history`` has the losses of each epoch.
    n_iter_ : int
        Number of epochs; the largest of several networks.
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
    LSTMUpliftClassifier : Effects on a probability; notes on effects.
    LSTMRegressor : The network of one treatment; notes on losses.

    Notes
    -----
    See the Notes of `LSTMUpliftClassifier`. All treatments have the same scales of
    targets. Linear parts start, for all treatments, as one regression on all rows. The
    calibration factors of losses other than ``"squared_error"`` are learned for each
    treatment, so that its predictions for its own rows add up to their outcomes.

    References
    ----------
    U. Shalit, F. D. Johansson and D. Sontag, "Estimating individual treatment
    effect: generalization bounds and algorithms", International Conference on
    Machine Learning, 2017. https://proceedings.mlr.press/v70/shalit17a.html

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_campaigns
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMUpliftRegressor
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> data = make_campaigns(200, random_state=0)
    >>> log = EventLog(data.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(data.rows, cutoff="cutoff")
    >>> model = make_history_pipeline(LSTMUpliftRegressor(max_epochs=3, random_state=0))
    >>> model = model.fit(X, data.amount, estimator__treatment=data.treatment)
    >>> model.predict(X).shape
    (200,)
    >>> model[-1].treatments_
    array([0, 1])
    """

    _parameter_constraints: dict[str, Any] = {
        **BaseLSTMUplift._parameter_constraints,
        "loss": [StrOptions(LOSSES_OF_MEANS)],
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
        control: int | float | bool | str | None = None,
        confidence_level: float = 0.9,
        loss: Literal[
            "squared_error", "poisson", "gamma", "zero_inflated_lognormal"
        ] = "squared_error",
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
        self.control = control
        self.confidence_level = confidence_level
        self.loss = loss
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.pretrained = pretrained
        self.warm_start = warm_start
        self.verbose = verbose

    def _of_one(self) -> Number:
        return LOSSES[self.loss]()

    def partial_fit(
        self,
        X: RowsLike,
        y: ArrayLike,
        *,
        treatment: ArrayLike | None = None,
        treatments: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
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
        y : array-like of shape (n,)
            Numbers, not negative for the Poisson and the zero-inflated log-normal
            loss, larger than 0 for the gamma loss.
        treatment : array-like of shape (n,)
            Label of the treatment of each row, by position. It is required.
        treatments : array-like of shape (n_arms,) or None, default=None
            All treatments that will ever occur. None: those of the first call, or of
            `fit`.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMUpliftRegressor
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, a static is not numeric, `y` holds durations,
            datetimes or text, treatments other than the control mix text and other
            labels, or `callbacks` has one that is not a callback of skorch.
        ValueError
            If `y` has missing or infinite values, or ones that the loss does not take,
            treatments are not given or have labels that the first call did not have, a
            parameter is out of range, training diverges, or the machine lacks `device`
            or, to train, `precision`.
        """
        self._check_treatment(X, treatment, sample_weight, "partial_fit")
        objective = OutcomesByTreatment(self._of_one(), self.control, treatments)
        return self._partial_fit(X, y, sample_weight, objective, treatment)
