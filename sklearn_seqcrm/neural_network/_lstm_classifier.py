"""Classify customers by their histories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from skorch.callbacks import Callback

from sklearn_seqcrm._columns import ForwardSplit, NoForwardSplitError
from sklearn_seqcrm._recurrent.objectives import (
    Classes,
    Labels,
    exponent_of,
    is_multioutput,
)
from sklearn_seqcrm._recurrent.training import Cell, HistoryClassifierNet, Pooling
from sklearn_seqcrm._sklearn_compat import StrOptions, with_callbacks
from sklearn_seqcrm._typing import ClassWeight, Duration, Estimator, RowsLike
from sklearn_seqcrm.neural_network._base import BaseLSTM


class LSTMClassifier(ClassifierMixin, BaseLSTM):
    """Classify customers by their histories and statics with a recurrent network.

    A recurrent network processes the events of each history. Its outputs up to the
    cutoff of a row are pooled into one vector, which is concatenated with the row's
    other features (time since the last event, number of events, decayed counts,
    statics) and enters a small feed-forward head.

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
        pass, so that the cost grows with the number of rows per customer.
    pooling : str or list of str, default=("last", "mean", "decay")
        Pooling of the outputs up to the cutoff of a row: ``"last"``, ``"mean"``,
        ``"max"``, ``"attention"`` (learned weights), ``"decay"`` (exponentially decayed
        means, one for each half-life of the encoder).
    bptt_steps : int or None, default=None
        Truncated backpropagation through time: number of events after which training
        cuts a history. The state is carried over the cut, the gradient is not. An event
        then takes a fifth of the memory, which histories of tens of thousands of events
        need. None: no cut.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the recurrent layers. ``"bfloat16"`` has 8 of the 24 significant
        bits, and is faster only if the processor (AVX512-BF16, AMX) or GPU supports it.
        Training on other devices is an error; a model that was trained elsewhere
        predicts there in float32.
    dropout : float, default=0.3
        Dropout probability, between recurrent layers and in the head.
    category_dropout : float, default=0.0
        Probability that an event's level is masked in training, independently for each
        field. 0.33 helps with texts, whose characters or words are levels; product
        fields of shops did not gain.
    head_sizes : array-like of int, default=(64,)
        Sizes of the hidden layers of the head; empty for a linear one.
    static_pieces : int, default=16
        Largest number of pieces between quantiles into which the head cuts the range of
        each numeric static. A piece has 100 training rows or more on average, of the
        first call in `partial_fit`; equal values of a customer count once. 1 cuts
        nothing: effects with thresholds, such as that of a sale price, are then learned
        late or not at all.
    learning_rate : float, default=0.002
        Step size of AdamW.
    weight_decay : float, default=0.01
        Decoupled weight decay of AdamW.
    n_networks : int or "auto", default="auto"
        Size of the ensemble, whose probabilities are averaged: they depend less on the
        seed, and are better with few customers. ``"auto"``: up to 5, as long as an
        epoch of all of them has at most 200,000 rows and steps of the recurrent cell (a
        step is an event or moment of a history column, once for all rows of a
        customer): with the default sizes, training then takes seconds. It is at least 2
        with ``select_fields="half"``, and 1 with `callbacks` and in `partial_fit`.
        Networks have other initial weights and other customers set aside. Forward in
        time, the first one finds the number of epochs for all (but see
        `select_fields`). Networks are trained and predict at the same time, in as many
        threads as torch may use (``torch.get_num_threads()``); with `verbose`, with
        callbacks and on a GPU, they are trained one after the other.
    averaged_steps : int, default=200
        Steps over which weights are averaged exponentially. Early stopping and
        prediction use the average, which has less noise of batches than the weights of
        the last step; 1 uses the latter.
    batch_size : int or "auto", default="auto"
        Rows in a training step; long histories are run a few at a time. ``"auto"``: at
        least 128 or, with early stopping and 200 rows or more, at least 32, or 64 if a
        pass has the rows of a customer, two or more on average. More if a 128th of all
        rows is more, up to 128, or if the average number of rows of 32 passes is, up to
        4,096 and to a 64th of all rows.
    max_epochs : int or "auto", default="auto"
        Most passes over the training rows. ``"auto"``: 50 with early stopping, and 8
        without it, where more epochs overfit.
    early_stopping : bool or "auto", default="auto"
        Set rows aside (see `validation`), and stop when their loss no longer falls.
        ``"auto"``: with at least 50 customers, or 1,000 rows.
    validation : {"auto", "forward", "customers"}, default="auto"
        Rows that are set aside: ``"forward"`` in time, those at the latest cutoffs, or
        all rows of some ``"customers"``. ``"auto"``: forward if the horizon of the
        target is known and rows have several cutoffs, unless `callbacks` or
        `warm_start` are set. See the Notes.
    horizon : Timedelta, str, number or None, default=None
        Time from a cutoff until the label of its row is known, including the gap of the
        target. None: that of `y`, if it is a target of `sklearn_seqcrm.targets`. Set
        it to the longest one if `y` was computed from several targets.
    validation_fraction : float or "auto", default="auto"
        Share of the customers set aside. ``"auto"``: 0.1 or, if that is less than 100
        customers, up to 0.2. Forward in time: least share of the rows at the latest
        cutoffs; ``"auto"``: 0.05, of which those of at most 1,000 customers are used.
    refit : bool, default=True
        After validation forward in time, train a new network on all rows. Its number
        of epochs is the one nearest to 10 of those with a small validation loss: above
        the least by at most one standard error of the difference, over customers, or a
        tenth of the range of losses. False, or customers set aside: return to the
        weights of the best epoch.
    select_fields : bool, "auto" or "half", default="auto"
        Which fields of events networks do not see; ``validation_["left_out"]`` names
        them. False: none. ``"auto"``: those of more than 16 levels with few events (on
        average fewer than 200, or fewer than 200 customers in all), if linear effects
        of these levels do not predict the target for other customers. True and
        ``"half"`` leave out further fields with `refit`, forward in time, and a fit
        takes up to three times as long:

        - True: find fields that do not help, those whose permutation raises the
          validation loss by less than two standard errors, and repeat the first
          training without them. If its loss (the least mean of three successive epochs)
          is lower, the networks do not see these fields.
        - ``"half"``: repeat the first training without any field. If the mean of their
          outputs then has a lower loss, half of the networks, rounded down, see only
          the times of events; a single network does if its own loss is lower without
          fields.
    n_iter_no_change : int, default=5
        Epochs without improvement after which training stops.
    class_weight : dict, "balanced", list of these or None, or None, default=None
        Weights of the classes, as in scikit-learn; of several labels those of 0 and 1,
        for all labels or, in a list, for each, in its part of the loss.
    callbacks : list of skorch callbacks or None, default=None
        Called during training; each fit uses copies. Callbacks that monitor the
        validation loss need ``early_stopping=True`` and, forward in time,
        ``refit=False``. Callbacks of scikit-learn (1.9 or newer) are set by
        ``set_callbacks`` instead.
    device : str or torch.device, default="cpu"
        Device of torch, such as ``"cuda"``.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the batches, the dropout and the validation split. With an
        int, runs on a CPU repeat exactly, also in threads: torch's global generator is
        neither used nor seeded. None draws a seed from NumPy's global generator, as
        everywhere in scikit-learn.
    pretrained : fitted LSTMEventModel or None, default=None
        Event model that provides the initial weights of the embeddings and recurrent
        layers, which it learned from histories without labels. It has the same `cell`,
        `hidden_size` and `num_layers`, and must not have seen events of a test period;
        see the Notes.
    warm_start : bool, default=False
        Continue training the networks of the last fit for `max_epochs` more.
        Architecture and number of the networks, loss, weight decay and device must not
        change. With an int as `random_state`, the same customers are set aside again.
    verbose : int, default=0
        1 prints a line for each training, and one for each of its epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or (k, 2)
        Class labels; of several labels ``[0, 1]`` for each.
    n_outputs_ : int
        Number of labels of a row: 1, or `k` if `y` had several columns.
    nets_ : list of skorch.NeuralNet
        The trained nets, fewer than `n_networks` if a callback of scikit-learn ended
        the fit before.
    n_networks_ : int
        Number of these nets.
    net_ : skorch.NeuralNet
        First of the nets; ``net_.history`` has the losses of each epoch of its last
        training, and ``validation_["losses"]`` the validation losses of the first.
    n_iter_ : int
        Number of epochs; the largest of several networks.
    validation_ : dict
        Which rows were set aside: ``"by"`` is ``"forward"``, ``"customers"`` or None,
        with a ``"reason"`` if not forward. ``"n_train"``, ``"n_valid"`` and
        ``"n_dropped"`` are numbers of rows. Forward, ``"since"`` is the first cutoff
        set aside; ``"losses"`` are the validation losses of the first training (of the
        better one, if there were two), and ``"n_epochs"`` is the number of epochs of
        the networks trained on all rows, fewer if a callback of skorch ends their
        training; both are None without such networks, and of those that see fields with
        ``select_fields="half"``. ``"left_out"`` has the fields that networks (or the
        last half of them) do not see, by history column, and ``"left_out_cycles"`` the
        cycles of the calendar, see Notes of `HistoryEncoder`. If the training on all
        rows is interrupted, the networks before it are kept.
    batch_size_ : int
        Rows in a step of the last training.
    n_features_in_ : int
        Number of columns seen in `fit`; not set for padded tensors.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names, if `X` was a DataFrame.

    See Also
    --------
    make_history_pipeline : Pipeline of the required preprocessing, for raw `X`.
    LSTMRegressor : Regression with the same network.
    LSTMEventModel : Model of histories without labels, to be used as `pretrained`.

    Notes
    -----
    `X` has one of three forms: a DataFrame with encoded history columns and numeric
    statics, the padded tensors of `HistoryPadder`, or a plain array, which is statics
    without a history. A fitted network predicts the same in the first two; fits on them
    differ, because tensors do not identify the customers of rows.

    Several labels, such as which categories will be bought, are a `y` of shape (n, k)
    with 0 and 1 (multilabel, in scikit-learn's words), predicted by one network. The
    loss of a row is the mean of theirs. As in
    `sklearn.neural_network.MLPClassifier`, `predict_proba` and `predict` have the shape
    (n, k). The scorers ``"roc_auc"`` and ``"average_precision"`` of scikit-learn
    average over labels. Its ``"neg_log_loss"`` does not score several labels, of any
    estimator: it leaves out the labels that a row does not have.

    Rows of one customer at several cutoffs share their events, and are trained and
    scored in one pass over them.

    **Validation forward in time.** The network is to predict later dates, but customers
    set aside share season and prices with the training rows. So the rows at the latest
    cutoffs are set aside, and rows whose labels were not known by then are dropped: the
    windows of their targets reach beyond the first cutoff set aside. This needs the
    time until a label is known. Targets of `sklearn_seqcrm.targets` hold it in their
    ``attrs``, which pandas keeps when rows are selected and values compared or computed
    with; for a `y` that is an array, set `horizon`. Of a target that was computed from
    several, ``attrs`` has the horizon of one of them: it is not used if the name
    differs, as after ``rename`` or in a new column, but ``future_count(X, "90D") -
    future_count(X, "30D")`` has the name of both. Set `horizon` to the longest one
    there. Then a new network is trained on all rows, because the dropped and the latest
    rows are the most like those to come. Customers are set aside if all rows have one
    cutoff, less than three tenths of the rows are left to learn from, they lack a class
    (unless `warm_start` continues a training), or fewer than 50 customers have rows at
    the latest cutoffs (fewer than 50 rows, if there are several history columns, such
    as those of shops, which connect customers); `validation_` has the reason.
    ``class_weight="balanced"``, like the scales of targets in `LSTMRegressor` and the
    bins of `LSTMSurvival`, is learned from the labels of all rows once, so that the
    first training uses these totals of labels that were unknown at its validation
    cutoff.

    With `pretrained`, embeddings and recurrent layers are fine-tuned, and the head is
    new. Events must be encoded as for the event model, because weights for other levels
    and scales are meaningless: `make_history_pipeline` ensures this, and in other
    pipelines ``HistoryEncoder(pretrained=event_model)``. The event model is fitted once
    in advance and not refitted in the folds of a cross-validation. If it has seen
    events at or after the first cutoff of a test set, scores are too good. Clones keep
    it fitted; in a grid of several, wrap each in ``FrozenEstimator``. Training that
    continues, by `warm_start` or `partial_fit`, does not copy the weights again.

    Histories are processed in float32, whose sums depend on the batch and the
    processor: predictions of a row agree to a relative error of about 1e-6 across
    batches, although they are returned as float64. Only identical rows on the same
    machine have identical predictions. Rows without histories are processed in float64
    (except with ``device="mps"``), and agree to about 1e-15 in any batch.

    Settings of torch around a call have no effect: disabled gradients, inference mode,
    autocast, a default dtype or device.

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

    _objective: Classes | Labels
    _net_class = HistoryClassifierNet

    _parameter_constraints: dict[str, Any] = {
        **BaseLSTM._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
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
        class_weight: ClassWeight = None,
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
        self.class_weight = class_weight
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.pretrained = pretrained
        self.warm_start = warm_start
        self.verbose = verbose

    @property
    def classes_(self) -> np.ndarray:
        """Class labels, or those of each of several labels."""
        return self._learned("classes_").classes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @with_callbacks
    def fit(
        self, X: RowsLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train on rows with known classes.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of the class.
        y : array-like of shape (n,) or (n, k)
            Class labels, of two classes or more; or labels that are 0 or 1 each.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMClassifier
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, a static is not a number, labels are neither text,
            numbers nor booleans or of several of these types, `horizon` does not fit
            the times of the log, or `callbacks` has one that is not a callback of
            skorch.
        ValueError
            If `y` has one class, missing values, or columns with values other than 0
            and 1, a parameter is out of range, ``validation="forward"`` is impossible,
            `pretrained` has other events or sizes, training diverges, or the machine
            lacks `device` or, to train, `precision`.
        """
        self._check_parameters()
        if is_multioutput(y):
            return self._fit(X, y, sample_weight, Labels(self.class_weight))
        return self._fit(X, y, sample_weight, Classes())

    def partial_fit(
        self,
        X: RowsLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train one more epoch on rows.

        For rows that arrive over time, encoded by the same `HistoryEncoder`. No rows
        are set aside; `max_epochs`, early stopping and scikit-learn's callbacks do not
        apply. Weights are relative to those of all calls, not of one call.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of the class.
        y : array-like of shape (n,) or (n, k)
            Class labels; or labels that are 0 or 1 each.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes that will ever occur. Needed in the first call, and not after
            `fit`; nor for several labels, whose classes are 0 and 1.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMClassifier
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, a static is not a number, or `callbacks` has one that
            is not a callback of skorch.
        ValueError
            If `classes` are missing or differ from those before, `y` has labels that
            are not among them, `class_weight` is ``"balanced"``, a parameter is out of
            range, training diverges, or the machine lacks `device` or, to train,
            `precision`.
        """
        self._check_parameters()
        weights = self.class_weight
        if "balanced" in (weights if isinstance(weights, list) else [weights]):
            raise ValueError(
                "class_weight='balanced' needs all rows at once; give partial_fit a "
                "dict of weights, which compute_class_weight makes."
            )
        if is_multioutput(y):
            return self._partial_fit(X, y, sample_weight, Labels(self.class_weight))
        objective = Classes(self._all_classes(classes))
        return self._partial_fit(X, y, sample_weight, objective)

    def _all_classes(self, classes: Any) -> np.ndarray:
        """Return the classes of `partial_fit`, which must not change."""
        # One batch need not have rows of all classes, but the head has an output for
        # each: as in scikit-learn, the first call names them.
        if not hasattr(self, "nets_"):
            if classes is None:
                raise ValueError(
                    "classes must be passed on the first call to partial_fit."
                )
            if n_missing := int(np.sum(pd.isna(classes))):
                raise ValueError(
                    f"classes has {n_missing} missing values; leave them out."
                )
            found = np.unique(classes)
            if len(found) < 2:
                raise ValueError(f"classes must be two at least; got {found.tolist()}.")
            return found
        if classes is not None and not np.array_equal(
            np.unique(classes), self.classes_
        ):
            raise ValueError(
                f"classes={classes!r} is not the same as before, {self.classes_}."
            )
        return self.classes_

    def _weigh_targets(
        self, y: np.ndarray, weight: np.ndarray | None
    ) -> np.ndarray | None:
        """Multiply the weights of rows by those of their classes."""
        if self.class_weight is None or isinstance(self._objective, Labels):
            return weight  # weights of labels enter the loss label by label
        if isinstance(self.class_weight, list):
            raise ValueError(
                "A list as class_weight is for y of several columns; give a dict."
            )
        codes = self._objective.encode(y)  # (n,), positions in classes_
        if self.class_weight == "balanced":
            # As n / (n_classes * rows of the class). Rows count, and not their weights;
            # those of weight 0 do not count.
            used = codes if weight is None else codes[weight > 0]
            counts = np.bincount(used, minlength=len(self.classes_))
            of_class = len(used) / (len(counts) * np.maximum(counts, 1))
        else:
            of_class = compute_class_weight(
                self.class_weight, classes=self.classes_, y=y
            )
        if not ((of_class >= 0) & np.isfinite(of_class)).all():
            raise ValueError(
                "class_weight must not be negative, and finite; got "
                f"{self.class_weight!r}."
            )
        # Relative to each other, so that no product overflows or underflows.
        of_class = np.ldexp(of_class, -exponent_of(of_class))
        weight = of_class[codes] * (1.0 if weight is None else weight)
        if not weight.any():
            raise ValueError(
                f"class_weight={self.class_weight!r} leaves no row any weight."
            )
        return weight

    def _refuse_split(self, target: Any, split: ForwardSplit) -> None:
        # A row of an unseen class has a smaller loss the less a network has learned, so
        # that such rows would choose too few epochs. Networks that are trained further
        # have learned from rows of all classes before.
        if self._is_continuation:
            return
        train, valid = target[split.train], target[split.valid]
        if isinstance(self._objective, Labels):  # (n, k) of 0 and 1
            constant = (train == train[0]).all(axis=0)
            n_lacking = int((constant & (valid != train[0]).any(axis=0)).sum())
            lacking = f"0 or 1 of {n_lacking} labels" if n_lacking else ""
        else:
            known = np.unique(train)
            unseen = self.classes_[np.setdiff1d(valid, known)].tolist()
            lacking = f"the classes {unseen} of later rows" if unseen else ""
            if len(known) < 2:
                lacking = f"all classes but {self.classes_[known].tolist()[0]!r}"
        if lacking:
            raise NoForwardSplitError(
                f"rows whose label was known at {split.since}, the first of the latest "
                f"cutoffs, lack {lacking}"
            )

    def predict_proba(self, X: RowsLike) -> np.ndarray:
        """Probability of each class, or of each label.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of the class.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Probabilities in the order of `classes_`. Of several labels, shape (n, k):
            of 1 for each label; they do not add up to 1.
        """
        return self._combined(self._fitted_objective.predict, X)

    def predict(self, X: RowsLike) -> np.ndarray:
        """Most probable class, or the labels that are more likely than not.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of the class.

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            Class labels.
        """
        return self._fitted_objective.labels_of(self.predict_proba(X))
