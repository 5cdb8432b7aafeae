"""Effects of treatments on a binary outcome, from histories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import ClassifierTags
from skorch.callbacks import Callback

from sklearn_seqcrm._recurrent.objectives import Classes, OutcomesByTreatment
from sklearn_seqcrm._recurrent.training import Cell, Pooling
from sklearn_seqcrm._typing import Duration, Estimator, RowsLike
from sklearn_seqcrm.neural_network._base_uplift import BaseLSTMUplift


class LSTMUpliftClassifier(BaseLSTMUplift):
    """Predict effects of treatments on the probability of a class.

    The network of `LSTMClassifier` with a head for each treatment, as in TARNet [1]_:
    all treatments share the reader of the histories and the hidden layers, and the
    loss of a row is that of its own treatment. `predict` returns the difference between
    the probabilities under a treatment and under the control.

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
    control : int, float, bool, str or None, default=None
        Treatment of the rows that were not contacted, with which others are compared.
        None: 0 or False, for treatments 0 and 1, or False and True.
    confidence_level : float, default=0.9
        Probability of the intervals of `predict_interval`, between 0 and 1.
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
    classes_ : ndarray of shape (2,)
        Class labels; effects are on the probability of the second.
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
    LSTMUpliftRegressor : Effects on numbers with the same network.
    LSTMClassifier : The network of one treatment; notes on the forms of `X`.

    Notes
    -----
    **Effects.** With the expected outcome ``mu[a]`` of a row under treatment ``a``, and
    0 for the control, `predict` returns ``mu[a] - mu[0]``: the conditional average
    treatment effect. It is a causal effect if the assignment of treatments was
    randomised, or depended only on what the row shows (histories and statics), and if
    every row could have had each treatment. No network can correct for a reason of
    assignment that is not in `X`. Histories must end before the contact that is the
    treatment: rows see the events before their cutoffs, so that the time of the contact
    is a cutoff that hides it. Earlier contacts are events like others. `fit` raises an
    error if all customers with an event at the cutoff (`allow_exact_matches` of
    ``EventLog.attach``), or with some level of a static, are in one arm, unless chance
    explains it. A contact that is logged before the cutoff, and any in padded tensors,
    is not found.

    **Heads.** The outputs of a row are a mean over the treatments and a difference for
    each but the control; with the share ``s[a]`` of each treatment in the training
    rows::

        z[0] = m - sum over a of s[a] * d[a]
        z[a] = z[0] + d[a]

    The loss of a row with treatment ``a`` is the cross-entropy of ``z[a]``. The same
    functions could be learned with ``z`` as outputs, as in TARNet. Adam then changes
    differences twice as fast, and effects are noisier: on campaigns of 6,000 simulated
    customers (three seeds, randomised and confounded), the root mean squared error of
    effects was .126 with ``z`` and .117 with a mean and differences as outputs.

    **Confounding.** If treatments were not randomised, the network adjusts for what `X`
    shows, and shrinks: part of the difference between treated and other customers may
    remain in the effects. Weights of rows by the inverse of the propensity of their
    treatment, ``sample_weight=1 / propensity``, reduce this bias and increase the
    variance. A head for the propensity, as in DragonNet [2]_, did not help: on the same
    campaigns (two seeds) the error was .122, and .121 without it. The learners of
    ``sklearn_seqcrm.uplift`` use propensities in other ways.

    **Validation.** Rows are set aside as in `LSTMClassifier`. Forward in time, rows on
    both sides must have all treatments; otherwise customers are set aside, drawn so
    that all treatments are on both sides where each has two customers or more.

    `fit` and `score` request `treatment` by default where metadata routing is enabled.
    Without it, pass ``estimator__treatment=...`` to `fit` of a pipeline of
    `make_history_pipeline`. In searches over pipelines, set ``scoring`` to
    ``get_scorer("qini_auc").set_score_request(treatment=True)``: scikit-learn 1.6
    passes no metadata to the score of a pipeline.

    **Intervals** of `predict_interval` show how much the networks of the ensemble
    differ, which have other initial weights, batches and validation customers. They
    have no guarantee of coverage, as errors that all networks share are not part of
    them: with five networks on 10,000 simulated customers, 90% intervals covered 62% of
    the true effects.

    References
    ----------
    .. [1] U. Shalit, F. D. Johansson and D. Sontag, "Estimating individual treatment
       effect: generalization bounds and algorithms", International Conference on
       Machine Learning, 2017. https://proceedings.mlr.press/v70/shalit17a.html
    .. [2] C. Shi, D. M. Blei and V. Veitch, "Adapting Neural Networks for the
       Estimation of Treatment Effects", Advances in Neural Information Processing
       Systems 32, 2019. https://arxiv.org/abs/1906.02120

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_campaigns
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMUpliftClassifier
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> data = make_campaigns(200, random_state=0)
    >>> log = EventLog(data.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(data.rows, cutoff="cutoff")
    >>> model = make_history_pipeline(
    ...     LSTMUpliftClassifier(max_epochs=3, random_state=0)
    ... )
    >>> model = model.fit(X, data.target, estimator__treatment=data.treatment)
    >>> model.predict(X).shape
    (200,)
    >>> model[-1].treatments_
    array([0, 1])
    """

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
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.pretrained = pretrained
        self.warm_start = warm_start
        self.verbose = verbose

    @property
    def classes_(self) -> np.ndarray:
        """Class labels, shape (2,)."""
        return self._learned("classes_").of_one.classes

    def _of_one(self) -> Classes:
        return Classes()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Its outcomes are two classes; as a predictor of effects it is no classifier.
        tags.classifier_tags = ClassifierTags(multi_class=False)
        return tags

    def partial_fit(
        self,
        X: RowsLike,
        y: ArrayLike,
        *,
        treatment: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        treatments: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train one more epoch on rows.

        For rows that arrive over time, encoded by the same `HistoryEncoder`. No rows
        are set aside; `max_epochs`, early stopping and scikit-learn's callbacks do not
        apply. Weights are relative to those of all calls, not of one call.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            See the Notes of `LSTMClassifier`.
        y : array-like of shape (n,)
            Class labels.
        treatment : array-like of shape (n,)
            Label of the treatment of each row, by position. It is required.
        classes : array-like of shape (2,) or None, default=None
            Both classes. None: those of the first call, or of `fit`.
        treatments : array-like of shape (n_arms,) or None, default=None
            All treatments that will ever occur. None: those of the first call, or of
            `fit`.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss, not negative.

        Returns
        -------
        LSTMUpliftClassifier
            The fitted estimator.

        Raises
        ------
        TypeError
            If histories are raw, a static is not a number, treatments other than the
            control mix text and other labels, or `callbacks` has one that is not a
            callback of skorch.
        ValueError
            If treatments are not given, `y` or `treatment` has labels that the first
            call did not have, a parameter is out of range, training diverges, or the
            machine lacks `device` or, to train, `precision`.
        """
        self._check_treatment(X, treatment, sample_weight, "partial_fit")
        of_one = Classes(None if classes is None else np.unique(classes))
        objective = OutcomesByTreatment(of_one, self.control, treatments)
        return self._partial_fit(X, y, sample_weight, objective, treatment)
