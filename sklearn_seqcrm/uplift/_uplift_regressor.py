"""Effects on a number."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sklearn_seqcrm._columns import read_numbers
from sklearn_seqcrm.uplift._base import BaseUplift


class UpliftRegressor(BaseUplift):
    """Effects of treatments on a number.

    Uplift: the difference that a contact makes to each customer. A meta-learner around
    any estimator of the rows of `X`: a network or boosted trees in a pipeline on
    histories, a hybrid, or an estimator of plain tables.

    `UpliftClassifier` describes the parameters in more detail.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A regressor, pipeline or search that takes `X`: the model of outcomes.
        It is cloned. None: `HistoryAggregator` and small trees of
        ``HistGradientBoostingRegressor``.
    learner : {"s", "t", "x", "dr", "r"}, default="x"
        Meta-learner, as in `UpliftClassifier`.
    effect_estimator : estimator or None, default=None
        Regressor of effects, for ``"x"``, ``"dr"`` and ``"r"``. None: `estimator`
        with the default loss, because pseudo-outcomes may be negative.
    propensity : {"learned", "constant"}, default="learned"
        Probability of each treatment given the row, for ``"x"``, ``"dr"`` and ``"r"``.
        ``"constant"``: the share of each treatment, if customers were drawn at random.
        ``"learned"``: by `propensity_estimator`. Known probabilities are an argument of
        `fit`.
    propensity_estimator : estimator or None, default=None
        Classifier of the treatment, with ``predict_proba``. None: the classifier that
        is like `estimator`: its steps, and for the last step the class of the same
        package and name, `LSTMClassifier` for `LSTMRegressor`, with the same
        parameters. There is none for some classes, such as Ridge.
    control : object, default=None
        Label of rows that were not treated. None: 0 or False, where the labels are 0
        and 1 or booleans; other labels need it, also 0, 1 and 2.
    cv : int, splitter, iterable of splits or None, default=3
        Cross-fitting, for ``"x"``, ``"dr"`` and ``"r"``. An int: number of folds of
        customers; None: 3. A splitter such as ``CutoffSplit(3)``: folds forward in
        time.
    min_propensity : float, default=0.05
        Learned propensities below it are set to it, or to half the share of the arm if
        that is less. Between 0 and 0.5.
    overlap_weights : bool, default=True
        Whether ``"dr"``, and the calibration of ``"x"``, weight rows by the overlap of
        arms.
    calibrate : bool, default=True
        Whether ``"x"``, ``"dr"`` and ``"r"`` fit models of effects on two thirds of the
        customers each, and correct the spread of their mean by the other customers.
        False: one model of all rows.
    n_bootstraps : int, default=0
        Number of samples of customers for `predict_interval`, each with a fit of all
        models; 50 or more for intervals.
    confidence_level : float, default=0.9
        Probability of the intervals, between 0 and 1.
    n_jobs : int or None, default=None
        Number of models, or samples, that are fitted at a time, as in joblib.
    random_state : int, RandomState or None, default=None
        Draws folds and samples of customers, and the seeds of estimators that have
        none.

    Attributes
    ----------
    treatments_ : ndarray of shape (n_arms,)
        Labels of the treatments: control, then the others sorted.
    learner_ : object
        The fitted learner: ``learner_.outcome`` holds models of outcomes, and
        ``learner_.effect`` those of effects, in the order ``treatments_[1:]``; of
        ``"x"``, ``"dr"`` and ``"r"`` with `intercept` and `slope` of the calibration.
    bootstraps_ : list of n_bootstraps learners
        Those of the samples of customers.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names, if `X` was a DataFrame.

    See Also
    --------
    UpliftClassifier : The same for two classes, with notes on the learners.
    sklearn_seqcrm.model_selection.compare_models : Differences between models.

    Notes
    -----
    The Notes of `UpliftClassifier` hold for numbers, too: the learners, cross-fitting,
    propensities, weights, calibration, intervals, and the contact that is being
    decided, which must not be in the history.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression, LogisticRegression
    >>> from sklearn_seqcrm.uplift import UpliftRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 1))
    >>> arm = rng.choice(["none", "mail", "call"], 1000)
    >>> spend = X[:, 0] + np.where(arm == "mail", 2 + X[:, 0], 0) + (arm == "call")
    >>> model = UpliftRegressor(
    ...     LinearRegression(),
    ...     learner="r",
    ...     propensity_estimator=LogisticRegression(),
    ...     control="none",
    ... )
    >>> model.fit(X, spend, treatment=arm).treatments_
    array(['none', 'call', 'mail'], dtype=object)
    >>> model.predict([[0.0], [1.0]]).round(1)
    array([[1., 2.],
           [1., 3.]])
    """

    _classify: ClassVar[bool] = False

    def _read_outcomes(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        outcome = read_numbers(y)
        return outcome, outcome
