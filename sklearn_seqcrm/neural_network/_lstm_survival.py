"""Predict when events come from histories."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.utils import check_consistent_length

from sklearn_seqcrm._ragged import concordance
from sklearn_seqcrm._recurrent.objectives import (
    Hazards,
    SurvivalCurve,
    hazard_at_own_time,
    time_at_hazard,
)
from sklearn_seqcrm._recurrent.training import Pooling
from sklearn_seqcrm._sklearn_compat import Interval, check_sample_weight, with_callbacks
from sklearn_seqcrm.neural_network._base import BaseLSTM


class LSTMSurvival(BaseLSTM):
    """Predict when events come from histories and statics with a recurrent network.

    The network of `LSTMClassifier` with a hazard for each of several bins of time: the
    chance of an event in that bin, if there was none before. Rows in which none has
    come so far say what they can, by the bins that have passed. With several kinds of
    events there is a hazard for each of them.

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
    bptt_steps : int or None, default=None
        Longest stretch of events through which gradients flow. In training, histories
        are cut after every so many events; the state is carried over the cut, the
        gradient is not. An event of a long history then takes a fifth of the memory:
        for histories of tens of thousands of events.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the recurrent layers. ``"bfloat16"`` keeps 8 of the 24 bits of a
        number, and is faster where the processor (AVX512-BF16, AMX) or GPU computes
        with them, and only there. Training refuses it on a device that cannot; a model
        that was trained elsewhere predicts there in float32.
    dropout : float, default=0.3
        Share of units that training drops between layers, and in the head.
    category_dropout : float, default=0.0
        Share of events at which training drops the level of a field, field by field. A
        third helps with texts, whose characters or words are levels; fields of products
        of a shop did without.
    head_sizes : array-like of int, default=(64,)
        Sizes of the hidden layers of the head; empty for a linear one.
    learning_rate : float, default=0.002
        Step size of AdamW.
    weight_decay : float, default=0.01
        Decoupled weight decay of AdamW.
    n_networks : int, default=1
        Networks to train one after the other, whose chances are averaged. Each begins
        with other weights and sets other customers aside. Results differ less from seed
        to seed, for so many times the time.
    averaged_steps : int, default=200
        Steps over which weights are averaged, a running mean. Early stopping and
        prediction see the mean, which has less of the noise of batches than the weights
        of the last step; 1 takes those.
    batch_size : int or "auto", default="auto"
        Rows in a step of training; long histories are read a few at a time. ``"auto"``
        takes 128. Where rows of one customer are read in one pass, and say much the
        same, it takes as many as 32 customers have on average if those are more, up to
        4,096 and to a 64th of all rows.
    max_epochs : int or "auto", default="auto"
        Most passes over the training rows. ``"auto"``: 50, or 8 if there is no early
        stopping, and nothing else that keeps a network from learning its rows by heart.
    early_stopping : bool or "auto", default="auto"
        Set customers aside, all rows of each, stop when their loss no longer falls,
        and go back to the best epoch. ``"auto"``: with 50 customers or more, or 1,000
        rows.
    validation_fraction : float or "auto", default="auto"
        Share of the customers that are set aside. ``"auto"``: a tenth or, if that is
        less than 100 customers, up to a fifth.
    n_iter_no_change : int, default=5
        Epochs without improvement after which training stops.
    bins : int, duration or array-like, default=20
        Bins of time within which the hazard is constant. An int: so many at most, with
        equal shares of the events by the Kaplan-Meier estimate, up to the longest time
        in `y`. A duration, such as ``"1D"``: bins of that length. Otherwise their
        edges, ascending, as durations or in the unit of the times; 0 need not be
        among them, and bins beyond the longest time in `y` are left out. Bins include
        their left edge, but not their right edge, see Notes.
    callbacks : list of skorch callbacks or None, default=None
        Called during training; each fit works on copies. Those that watch the
        validation loss need ``early_stopping=True``. Those of scikit-learn go into
        ``set_callbacks`` instead, from its version 1.9 on.
    device : str or torch.device, default="cpu"
        Device of torch, such as ``"cuda"``.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the batches, the dropout and the validation split. An int
        makes runs on a CPU repeat exactly, be it in threads: torch's global generator
        is neither drawn from nor seeded. None takes a seed from NumPy's, as everywhere
        in scikit-learn.
    pretrained : fitted LSTMEventModel or None, default=None
        A model whose reader the network starts from, as in `LSTMClassifier`. It must
        not have seen the events of any test period.
    warm_start : bool, default=False
        Go on from the networks of the last fit, for `max_epochs` more. What these are
        made of and how many they are stays as it was, and so do their loss, weight
        decay and device: other values for these are an error. An int as
        `random_state` sets the same customers aside again.
    verbose : int, default=0
        1 prints a line for each epoch.

    Attributes
    ----------
    unique_times_ : ndarray of shape (n_bins + 1,)
        Edges of the bins, from 0 on: days if the times of `y` were durations, and
        otherwise in their unit.
    event_types_ : ndarray of shape (n_kinds,), int64
        Kinds of the events before the last edge, in order; ``[1]`` if events are
        booleans.
    nets_ : list of skorch.NeuralNet
        The trained nets. There are fewer than `n_networks` if a callback of
        scikit-learn has ended the fit before.
    net_ : skorch.NeuralNet
        The first of them; ``net_.history`` has the losses of each epoch.
    n_iter_ : int
        Number of epochs run; of several networks, the most that one has run.
    batch_size_ : int
        Rows in a step of the last training.
    n_features_in_ : int
        Number of columns seen in `fit`; not set for padded tensors.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names, if `X` was a DataFrame.

    See Also
    --------
    time_to_next : Makes `y`.
    make_history_pipeline : Everything that has to come before, for raw `X`.
    LSTMClassifier : Whether an event comes within one horizon, with notes on the forms
        of `X`.

    Notes
    -----
    The page "When will they be back" of the documentation goes through all of this by
    example.

    **Likelihood.** With outputs ``z[k, j]`` of kind ``k`` in bin ``j``, which reaches
    from ``t[j]`` to ``t[j + 1]``, the chance of that event in that bin, if there was
    none before, is ``h[k, j] = exp(z[k, j]) / (1 + sum(exp(z[:, j])))``: a logistic
    hazard (Gensheimer and Narasimhan), and with several kinds the multinomial one
    (Tutz and Schmid). A row costs ``-log(h[k, j])`` for its event and
    ``-log(1 - sum(h[:, i]))`` for each bin that it passed before. A row without an
    event costs the latter, of the bin in which its watch ended in proportion to what
    was watched of it. All times within a bin count the same for an event, so that whole
    days are as good as moments.

    **Between edges** the hazard is constant: the survival in bin ``j`` is
    ``S(t[j]) * (1 - h[j]) ** ((t - t[j]) / (t[j + 1] - t[j]))``.

    **At edges** an event belongs to the later bin. So the survival at ``t`` is the
    chance of no event *before* ``t``, which is how windows of `targets` count; with
    whole days the estimates of scikit-survival, of none up to ``t``, are those of a day
    later.

    **At and beyond the last edge** nothing is known. Events there count as none before
    the last edge, quantiles there are infinite, and probabilities of later times are an
    error. Bins of one length go on until they hold the last event. With an int as
    `bins`, events at the longest time in `y` are in no bin: if many are, as with a few
    whole numbers as times, give edges that end later.

    **Risk.** `predict` returns the chance that the event of a row comes before that of
    a random customer, ``sum(m * (1 - (S[1:] + S[:-1]) / 2))``, where ``m`` are the
    shares of the training rows' events in the bins, by the Kaplan-Meier estimate.

    **Kinds.** Of competing events the first one counts. Whatever asks for no kind, like
    `predict` or `predict_survival_function`, is about an event of any kind.

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

    _parameter_constraints: dict[str, list[Any]] = {
        **BaseLSTM._parameter_constraints,
        "bins": [
            Interval(Integral, 1, None, closed="left"),
            str,
            datetime.timedelta,
            np.timedelta64,
            "array-like",
        ],
    }

    def __init__(
        self,
        *,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        pooling: Pooling | Sequence[Pooling] = ("last", "mean", "decay"),
        bptt_steps: int | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
        dropout: float = 0.3,
        category_dropout: float = 0.0,
        head_sizes: Sequence[int] = (64,),
        learning_rate: float = 0.002,
        weight_decay: float = 0.01,
        n_networks: int = 1,
        averaged_steps: int = 200,
        batch_size: int | Literal["auto"] = "auto",
        max_epochs: int | Literal["auto"] = "auto",
        early_stopping: bool | Literal["auto"] = "auto",
        validation_fraction: float | Literal["auto"] = "auto",
        n_iter_no_change: int = 5,
        bins: Any = 20,
        callbacks: Sequence[Any] | None = None,
        device: str | torch.device = "cpu",
        random_state: Any = None,
        pretrained: Any = None,
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
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.n_networks = n_networks
        self.averaged_steps = averaged_steps
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.bins = bins
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.pretrained = pretrained
        self.warm_start = warm_start
        self.verbose = verbose

    @property
    def unique_times_(self) -> np.ndarray:
        """Edges of the bins."""
        return self._learned("unique_times_").edges

    @property
    def event_types_(self) -> np.ndarray:
        """Kinds of events."""
        return self._learned("event_types_").kinds

    def _learned(self, name: str) -> Hazards:
        """The objective of the fitted network, for an attribute that is its own."""
        if not hasattr(self, "_objective"):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )
        return self._objective

    def __sklearn_tags__(self) -> Any:
        """A target is needed, and times are not negative."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.positive_only = True
        return tags

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows whose events have come, or had not when the watch ended.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        y : DataFrame of two columns, structured array or array-like of shape (n,)
            What `time_to_next` returns with ``censored="keep"``, or what
            scikit-survival takes: whether there was an event, and the time to it or to
            the end of the watch. The column of events has booleans, or 0 for none and
            1, 2, ... for kinds of events, or else the name ``"event"``. Times are
            durations, or numbers, not negative. One column: times that all ended with
            the event.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMSurvival
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, a static is no number, or events or times are of
            another kind.
        ValueError
            If `y` has missing, infinite or negative times, no events, or columns that
            cannot be told apart, a parameter is out of range, `pretrained` reads others
            or has other sizes, or the machine lacks `device` or, to train, `precision`.

        Warns
        -----
        UserWarning
            If `y` has times alone, and those are 0 and 1, as labels are.
        """
        self._check_parameters()
        return self._fit(X, y, sample_weight, Hazards(self.bins))

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go once over more rows, from the network as it is.

        For rows that come in over time, encoded by one and the same `HistoryEncoder`:
        one epoch of training, without rows set aside. Repeat it, as `max_epochs` and
        early stopping do not count here, nor scikit-learn's callbacks. Weights are
        those of one long table: rows of small weight have little say beside the rows
        of other calls. The first call settles the bins and the kinds of events, so that
        its rows should be like those to come.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        y : DataFrame of two columns, structured array or array-like of shape (n,)
            What `time_to_next` returns with ``censored="keep"``, or what
            scikit-survival takes: whether there was an event, and the time to it or to
            the end of the watch. The column of events has booleans, or 0 for none and
            1, 2, ... for kinds of events, or else the name ``"event"``. Times are
            durations, or numbers, not negative. One column: times that all ended with
            the event.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMSurvival
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, a static is no number, or events or times are of
            another kind.
        ValueError
            If `y` has missing, infinite or negative times, no events, or columns that
            cannot be told apart, or kinds of events that the first call had not, a
            parameter is out of range, or the machine lacks `device` or, to train,
            `precision`.
        """
        self._check_parameters()
        return self._partial_fit(X, y, sample_weight, Hazards(self.bins))

    def predict(self, X: Any) -> np.ndarray:
        """Risk of an early event: the more, the sooner it comes.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.

        Returns
        -------
        ndarray of shape (n,)
            Chance that the event comes before that of a random customer.
        """
        return self._combined(self._objective.predict, X)

    def predict_survival_function(
        self, X: Any, return_array: bool = False
    ) -> np.ndarray:
        """Chance of no event before each time.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        return_array : bool, default=False
            Whether to return values at `unique_times_` instead of functions.

        Returns
        -------
        ndarray of n SurvivalCurve, or of shape (n, n_bins + 1)
            Functions of time, called like the step functions of scikit-survival.
        """
        hazard = self._cumulative_hazard(X)
        return np.exp(-hazard) if return_array else self._curves(hazard, True)

    def predict_cumulative_hazard_function(
        self, X: Any, return_array: bool = False
    ) -> np.ndarray:
        """Hazard summed up to each time.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        return_array : bool, default=False
            Whether to return values at `unique_times_` instead of functions.

        Returns
        -------
        ndarray of n SurvivalCurve, or of shape (n, n_bins + 1)
            Functions of time, called like the step functions of scikit-survival.
        """
        hazard = self._cumulative_hazard(X)
        return hazard if return_array else self._curves(hazard, False)

    def predict_cumulative_incidence(self, X: Any, times: Any = None) -> np.ndarray:
        """Chance of no event, and of each kind of event, before each time.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        times : duration, float, array-like of shape (n_times,) or None, default=None
            One time or several, as durations or in the unit of `unique_times_`, which
            are the default.

        Returns
        -------
        ndarray of shape (n, 1 + n_kinds, n_times)
            No event first, then the order of `event_types_`, as in the library
            ``hazardous``. At each time they add up to 1.

        Raises
        ------
        ValueError
            If a time lies beyond the last bin.
        """
        objective = self._objective
        at = None if times is None else objective.times(times, "times")
        return self._combined(objective.incidence, X, at)

    def predict_quantile(self, X: Any, q: Any = 0.5) -> np.ndarray:
        """Time by which an event has come with some probability.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        q : float or array-like of shape (n_q,), default=0.5
            Probabilities between 0 and 1. The default is the median time.

        Returns
        -------
        ndarray of shape (n,) or (n, n_q)
            Times in the unit of `unique_times_`; infinite where they lie beyond the
            last bin.

        Raises
        ------
        ValueError
            If `q` is not between 0 and 1.
        """
        probabilities = np.asarray(q, dtype="float64")
        within = (probabilities > 0) & (probabilities < 1)
        if probabilities.ndim > 1 or not within.all():
            raise ValueError(f"q must be between 0 and 1, one or several; got {q!r}.")
        hazard, edges = self._cumulative_hazard(X), self._objective.edges
        wanted = np.atleast_1d(-np.log1p(-probabilities))
        times = [time_at_hazard(hazard, edges, one) for one in wanted]
        return np.column_stack(times) if probabilities.ndim else times[0]

    def predict_proba_before(self, X: Any, horizon: Any) -> np.ndarray:
        """Chance of an event before the horizon.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        horizon : duration, float or array-like of shape (n,)
            Length of time from the cutoff on, for all rows or for each: durations, such
            as ``"14D"``, or numbers in the unit of `unique_times_`.

        Returns
        -------
        ndarray of shape (n,)
            Probabilities.

        Raises
        ------
        TypeError
            If `horizon` is a duration, and the times of `y` were numbers.
        ValueError
            If it lies beyond the last bin, or there is not one for each row.
        """
        hazard = self._cumulative_hazard(X)
        if isinstance(horizon, str) or not np.iterable(horizon):
            times = self._objective.times([horizon], "horizon").repeat(len(hazard))
        else:
            times = self._objective.times(horizon, "horizon")
        if len(times) != len(hazard):
            raise ValueError(
                f"horizon must be one for all rows, or one for each; got {len(times)} "
                f"for {len(hazard)} rows."
            )
        return -np.expm1(-hazard_at_own_time(hazard, self._objective.edges, times))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return Harrell's concordance of the risks with the times.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        y : DataFrame of two columns, structured array or array-like of shape (n,)
            As in `fit`.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows; a pair has their product.

        Returns
        -------
        float
            Share of comparable pairs of rows in which the row with the earlier event
            has the higher risk; .5 for risks that say nothing.

        Raises
        ------
        ValueError
            If no two rows can be compared, as there are no events.

        Notes
        -----
        That is ``concordance_index_censored`` of scikit-survival, in the time of a
        sort.
        """
        risk = self.predict(X)
        found = self._objective.read_targets(y)
        check_consistent_length(risk, found.time)
        weight = None
        if sample_weight is not None:
            weight = check_sample_weight(sample_weight, risk, ensure_non_negative=True)
        return concordance(found.kind > 0, found.time, risk, weight)

    def _cumulative_hazard(self, X: Any) -> np.ndarray:
        """Hazard of any event up to each edge, shape (n, n_bins + 1)."""
        return self._combined(self._objective.cumulative_hazard, X)

    def _curves(self, hazard: np.ndarray, survival: bool) -> np.ndarray:
        """A function of time for each row, shape (n,)."""
        curves = np.empty(len(hazard), dtype=object)
        edges, in_days = self._objective.edges, self._objective.in_days
        for i, row in enumerate(hazard):
            curves[i] = SurvivalCurve(edges, row, survival, in_days)
        return curves
