"""Predict the time to the next event from histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from skorch.callbacks import Callback

from sklearn_seqcrm._columns import (
    ForwardSplit,
    NoForwardSplitError,
    SurvivalTargets,
    censor,
    split_survival,
)
from sklearn_seqcrm._recurrent.data import Inputs
from sklearn_seqcrm._recurrent.objectives import BINS, Hazards, SurvivalPredictionsMixin
from sklearn_seqcrm._recurrent.training import Cell, Pooling
from sklearn_seqcrm._sklearn_compat import with_callbacks
from sklearn_seqcrm._typing import Duration, Estimator, RowsLike
from sklearn_seqcrm.neural_network._base import BaseLSTM


class LSTMSurvival(SurvivalPredictionsMixin, BaseLSTM):
    """Predict the time to the next event from histories and statics.

    The recurrent network of `LSTMClassifier` with a hazard for each of several bins of
    time: the probability of an event in that bin, given none before. A censored row
    contributes the probability of no event in the bins before its censoring time, and
    in a fraction of the bin of that time. With several kinds of events (competing
    risks) there is a hazard for each kind.

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
        Size of the ensemble, whose survival curves are averaged. ``"auto"``: up to 5
        with little data, and 1 with `callbacks` and in `partial_fit`.
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
        it to the longest one if `y` was computed from several targets. If windows have
        no end: least time from the cutoff of a validation row to the end of the record;
        None: the gap and the median time of the events.
    validation_fraction : float or "auto", default="auto"
        Share of the customers set aside. ``"auto"``: 0.1 or, if that is less than 100
        customers, up to 0.2. Forward in time: least share of the rows; ``"auto"``:
        0.05.
    refit : bool, default=True
        After validation forward in time, train a new network on all rows. False: return
        to the weights of the best epoch.
    select_fields : bool, "auto" or "half", default="auto"
        Which fields of events networks do not see. False: none. ``"auto"``: those of
        many levels with few events, whose linear effects do not predict the target for
        other customers. With `refit`, forward in time, True also leaves out fields that
        do not help, and ``"half"`` all fields in half of the networks, if that lowers
        the validation loss; a fit takes up to three times as long.
    n_iter_no_change : int, default=5
        Epochs without improvement after which training stops.
    bins : int, duration or array-like, default=20
        Bins of time within which the hazard is constant. An int: the largest number of
        bins, which have equal shares of the events by the Kaplan-Meier estimate and
        reach to the longest time in `y`. A duration, such as ``"1D"``: the length of
        the bins. Otherwise edges, ascending, as durations or in the unit of the times;
        0 may be omitted, and bins after the longest time in `y` are left out. Bins
        include their left edge, and not their right edge; see Notes.
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
    unique_times_ : ndarray of shape (n_bins + 1,)
        Edges of the bins, ascending from 0, in days if the times of `y` were durations,
        and otherwise in their unit. Named as in scikit-survival.
    event_types_ : ndarray of shape (n_kinds,), int64
        Kinds of the events before the last edge, ascending; ``[1]`` if events are
        booleans.
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
    time_to_next : Makes `y`.
    make_history_pipeline : Pipeline of the required preprocessing, for raw `X`.
    LSTMClassifier : Whether an event comes within one horizon, with notes on the forms
        of `X`.

    Notes
    -----
    The page "Churn, retention and return times" of the documentation explains the model
    by example.

    **Likelihood.** With outputs ``z[k, j]`` of kind ``k`` in bin ``j``, from ``t[j]``
    to ``t[j + 1]``, the probability of an event of kind ``k`` in the bin, given none
    before, is ``h[k, j] = exp(z[k, j]) / (1 + sum over l of exp(z[l, j]))``: a logistic
    hazard (Gensheimer and Narasimhan), and with several kinds the multinomial hazard
    (Tutz and Schmid). With ``h[i] = sum over k of h[k, i]``, a row has the likelihood::

        h[k, J] * product over i < J of (1 - h[i])            event of kind k in bin J
        (1 - h[J]) ** f * product over i < J of (1 - h[i])    censored in bin J

    where ``f`` is the fraction of bin ``J`` before the censoring time. The loss is the
    negative logarithm. Event times within a bin are equivalent, so that whole days are
    as good as exact times. As in the Kaplan-Meier estimate, rows are censored after the
    events of the same time: if all times in `y` are multiples of a step, such as a day,
    ``f`` includes that step, except after the last event.

    **Between edges** the hazard rate is constant, so that ``log S`` is linear (Kvamme
    and Borgan): ``S(t) = S(t[j]) * (1 - h[j]) ** ((t - t[j]) / (t[j + 1] - t[j]))`` in
    bin ``j``. The cumulative incidence of kind ``k`` is ``CIF_k(t) = CIF_k(t[j]) +
    h[k, j] / h[j] * (S(t[j]) - S(t))``.

    **At edges** an event belongs to the later bin. So the survival at ``t`` is the
    probability of no event *before* ``t``, as in the windows of `targets`. With whole
    days, the estimates of scikit-survival (no event up to and including ``t``) equal
    those of one day later.

    **Beyond the last edge** the survival is unknown. Events at or after the last edge
    count as censored there; quantiles that are not reached by it are infinite, and
    later times raise an error. Bins of one length continue until they include the last
    event. With an int as `bins`, events at the longest time in `y` are in no bin: if
    there are many, as with small whole numbers as times, give edges that end later.

    **Risk.** `predict` returns the probability that the event of a row precedes the
    event of a random training row, ``sum over j of m[j] * (1 - (S[j] + S[j + 1]) / 2)``
    with ``S[j] = S(t[j])``. ``m[j]`` is the probability of an event in bin ``j`` by the
    Kaplan-Meier estimate of the training rows, normalised to the sum 1. The mean of
    the survival at both edges counts an event in the same bin as 1/2.

    **Kinds.** Of competing events the first one counts. Methods without kinds in their
    result, like `predict` and `predict_survival_function`, refer to an event of any
    kind.

    **Validation forward in time** sets only rows aside whose window was complete when
    the log ended. Later rows are censored, without or with little follow-up; they are
    in the last training, on all rows. Windows of `time_to_next` without a horizon have
    no end. Validation rows are then those at the latest cutoffs that were observed for
    the median time of the events, and the earlier rows are censored at the first of
    these cutoffs in the first training. Times that were rescaled, or are numbers where
    the log has datetimes, cannot be censored: customers are set aside. Customers are
    also set aside if a kind of event was unknown at the first of these cutoffs, unless
    `warm_start` continues a training. The edges of an int as `bins` and `event_types_`
    come from the labels of all rows, also of those set aside. With ``refit=False``,
    curves are extrapolated after the longest time that the first training observed,
    ``validation_["since"]`` minus the first cutoff: later bins have the usual hazard of
    earlier ones.

    References
    ----------
    M. F. Gensheimer and B. Narasimhan, "A Scalable Discrete-Time Survival Model for
    Neural Networks", PeerJ 7, 2019. https://doi.org/10.7717/peerj.6257

    H. Kvamme and O. Borgan, "Continuous and Discrete-Time Survival Prediction with
    Neural Networks", Lifetime Data Analysis 27, 2021.
    https://doi.org/10.1007/s10985-021-09532-6

    G. Tutz and M. Schmid, "Modeling Discrete Time-to-Event Data", Springer, 2016.
    https://doi.org/10.1007/978-3-319-28158-2

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMSurvival
    >>> from sklearn_seqcrm.preprocessing import HistoryEncoder
    >>> from sklearn_seqcrm.targets import time_to_next
    >>> journeys = make_customer_journeys(200, random_state=0)
    >>> log = EventLog(
    ...     journeys.events,
    ...     customer="customer_id",
    ...     time="timestamp",
    ...     observed_until=journeys.observed_until,
    ... )
    >>> X = log.attach(journeys.rows[["customer_id", "cutoff"]], cutoff="cutoff")
    >>> y = time_to_next(X, kinds="order", censored="keep")
    >>> encoded = HistoryEncoder().fit_transform(X)[["history"]]
    >>> model = LSTMSurvival(max_epochs=3, random_state=0).fit(encoded, y)
    >>> [curve] = model.predict_survival_function(encoded[:1])
    >>> bool(1 > curve(30) > curve(60) > 0)
    True
    >>> chance = model.predict_proba_before(encoded[:1], "30D")
    >>> bool(abs(curve(30) - (1 - chance[0])) < 1e-6)
    True
    """

    _objective: Hazards
    _censors = True

    _parameter_constraints: dict[str, Any] = {
        **BaseLSTM._parameter_constraints,
        "bins": BINS,
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
        bins: int | Duration | ArrayLike = 20,
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
        self.bins = bins
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
        """Train on times of events, which may be right-censored.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        y : DataFrame of two columns, structured array or array-like of shape (n,)
            As `time_to_next` returns with ``censored="keep"``, or as scikit-survival
            takes: whether there was an event, and the time to it or to censoring. The
            column of events holds booleans, or 0 for none and 1, 2, ... for kinds of
            events, or is named ``"event"``. Times are durations, or numbers, not
            negative. One column: times of events without censoring.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMSurvival
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, a static is not numeric, events or times are of
            another type, `horizon` does not fit the times of the log, or `callbacks`
            has one that is not a callback of skorch.
        ValueError
            If `y` has missing, infinite or negative times, no events, or two
            columns of which either may be the event, a parameter is out of range,
            ``validation="forward"`` is impossible, `pretrained` has other events or
            sizes, training diverges, or the machine lacks `device` or, to train,
            `precision`.

        Warns
        -----
        UserWarning
            If `y` has only times, and these are 0 and 1, as labels are.
        """
        self._check_parameters()
        return self._fit(X, y, sample_weight, Hazards(self.bins))

    def _split_forward(
        self, inputs: Inputs, customers: np.ndarray, y: Any
    ) -> ForwardSplit:
        assert inputs.labels is not None
        kind, time = inputs.labels.T
        targets = SurvivalTargets(kind, time, self._objective.in_days)
        return split_survival(
            inputs.cutoffs,
            customers,
            y,
            targets,
            self.horizon,
            self.validation_fraction,
        )

    def _refuse_split(self, target: Any, split: ForwardSplit) -> None:
        # An unknown kind has a smaller loss the less a network has learned. Networks
        # that are trained further have learned from events of all kinds before.
        if self._is_continuation:
            return
        kinds = self._objective.kinds
        known = target[split.train, 1].astype("int64")  # 0 is censored
        unknown = np.delete(kinds, known[known > 0] - 1)
        if len(unknown):
            raise NoForwardSplitError(
                f"no event of the kinds {unknown.tolist()} was known at {split.since}, "
                "the first of the latest cutoffs, in the rows to train on"
            )

    def _as_known(self, inputs: Inputs, split: ForwardSplit | None) -> Inputs:
        """Censor the rows of the first training where the validation begins."""
        if split is None or split.observed is None:
            return inputs
        assert inputs.labels is not None
        kind, time = inputs.labels.T
        # Just before the first cutoff set aside: the events at it were not known.
        observed = split.observed * (1 - 1e-12)
        labels = np.column_stack(censor(kind, time, observed))
        data = inputs.data
        target = self._objective.encode(labels, data.weight)
        return inputs._replace(data=replace(data, target=target), labels=labels)

    def partial_fit(
        self, X: RowsLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train one more epoch on rows.

        For rows that arrive over time, encoded by the same `HistoryEncoder`. No rows
        are set aside; `max_epochs`, early stopping and scikit-learn's callbacks do not
        apply. Weights are relative to those of all calls, not of one call. The first
        call settles the bins and the kinds of events, so that its rows should be like
        those to come.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        y : DataFrame of two columns, structured array or array-like of shape (n,)
            As in `fit`.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMSurvival
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError
            As in `fit`; also if `y` has kinds of events that the first call had not.
        """
        self._check_parameters()
        return self._partial_fit(X, y, sample_weight, Hazards(self.bins))
