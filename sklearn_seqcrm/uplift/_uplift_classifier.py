"""Effects on the probability of a class."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.utils import ClassifierTags

from sklearn_seqcrm._columns import read_labels
from sklearn_seqcrm.uplift._base import BaseUplift


class UpliftClassifier(BaseUplift):
    """Effects of treatments on the probability of a class.

    Uplift: the difference that a contact makes to each customer. A meta-learner around
    any estimator of the rows of `X`: a network or boosted trees in a pipeline on
    histories, a hybrid, or an estimator of plain tables.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A classifier with ``predict_proba``, pipeline or search that takes `X`: the
        model of outcomes. It is cloned. None: `HistoryAggregator` and small trees of
        ``HistGradientBoostingClassifier``.
    learner : {"s", "t", "x", "dr", "r"}, default="x"
        Meta-learner. ``"s"``: one model of outcomes, which reads the treatment as
        columns of `X`. ``"t"``: a model of outcomes for each treatment. ``"x"``:
        effects imputed by these models, regressed on `X`. ``"dr"``: doubly robust
        pseudo-outcomes, regressed on `X`. ``"r"``: residual outcomes regressed on
        residual treatments. See Notes.
    effect_estimator : estimator or None, default=None
        Regressor of effects, for ``"x"``, ``"dr"`` and ``"r"``. None: the regressor
        that is like `estimator`: its steps, and for the last step the class of the same
        package and name, `LSTMRegressor` for `LSTMClassifier`, with the same parameters
        but the default loss. There is none for some classes, such as
        LogisticRegression.
    propensity : {"learned", "constant"}, default="learned"
        Probability of each treatment given the row, for ``"x"``, ``"dr"`` and ``"r"``.
        ``"constant"``: the share of each treatment, for experiments in which customers
        were drawn at random. ``"learned"``: by `propensity_estimator`, where customers
        were chosen. Known probabilities are an argument of `fit`.
    propensity_estimator : estimator or None, default=None
        Classifier of the treatment, with ``predict_proba``. None: like
        `estimator`.
    control : object, default=None
        Label of rows that were not treated. None: 0 or False, where the labels are 0
        and 1 or booleans; other labels need it, also 0, 1 and 2.
    cv : int, splitter, iterable of splits or None, default=3
        Cross-fitting, for ``"x"``, ``"dr"`` and ``"r"``. An int: number of folds of
        customers, each row of a table without histories being one; None: 3. A splitter
        such as ``CutoffSplit(3)``: folds forward in time, see Notes. It splits all
        rows, also those of weight 0, once for all samples of `n_bootstraps`.
    min_propensity : float, default=0.05
        Learned propensities below it are set to it, or to half the share of the arm if
        that is less: a few rows of small propensity would have most of the weight.
        Between 0 and 0.5. Given ones stay.
    overlap_weights : bool, default=True
        Whether ``"dr"``, and the calibration of ``"x"``, weight rows by the overlap of
        arms, see Notes. With ``"dr"`` without effect if `effect_estimator` takes no
        `sample_weight`, or propensities are constant.
    calibrate : bool, default=True
        Whether ``"x"``, ``"dr"`` and ``"r"`` fit models of effects on two thirds of the
        customers each, and correct the spread of their mean by the other customers, see
        Notes. False: one model of all rows; a fit then takes one half to three quarters
        of the time.
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
    classes_ : ndarray of shape (2,)
        Labels of the outcome. Effects are differences in the probability of the second.
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
    UpliftRegressor : The same for numbers.
    sklearn_seqcrm.model_selection.compare_models : Differences between models.

    Notes
    -----
    With the outcome ``Y``, the treatment ``T``, the models of outcomes ``m_k(x) = E[Y |
    T=k, x]`` and propensities ``e_k(x) = P(T=k | x)``, the effect of treatment ``k`` is
    ``tau_k(x) = m_k(x) - m_0(x)``, 0 being control. It is the effect of the treatment
    if, given `X`, treatments were as good as random, and if customers do not influence
    each other; no data can show this. The learners, of which ``"x"``, ``"dr"`` and
    ``"r"`` regress a pseudo-outcome on `X`::

        "s"   m(x, t) of all rows;  tau_k = m(x, k) - m(x, 0)
        "t"   m_k of the rows of each arm;  tau_k = m_k - m_0
        "x"   D_1 = Y - m_0 of treated rows, D_0 = m_k - Y of control rows;
              tau_k = g E[D_0 | x] + (1 - g) E[D_1 | x],  g = e_k / (e_0 + e_k)
        "dr"  phi_k = m_k - m_0 + 1[T=k] (Y - m_k) / e_k - 1[T=0] (Y - m_0) / e_0;
              tau_k = E[phi_k | x]
        "r"   tau_k minimises sum (T - p)**2 ((Y - m) / (T - p) - tau)**2 over the rows
              of two arms, with m = E[Y | x] and p = e_k / (e_0 + e_k)

    (Künzel et al. [1]_ for S, T and X, Kennedy [2]_, Nie and Wager [3]_.) A model of
    outcomes that shrinks differences between arms, as boosted trees and networks do,
    makes ``"s"`` conservative. In ``"t"``, the errors of separate models add up.
    ``"dr"`` has the right mean effect if either outcomes or propensities are right, and
    ``"r"`` is less sensitive to propensities near 0 and 1. In simulations ``"x"`` was
    more accurate than both, and varied less between samples than ``"s"`` and ``"t"``.
    Without calibration, its mean effect was less right than that of ``"dr"`` where
    customers were chosen by a rule.

    **Cross-fitting.** ``m`` and ``e`` of a row come from models that saw no row of its
    customer: the outcome of a row would otherwise be in its own pseudo-outcome. They
    may have seen other customers at later cutoffs. That is no leak, because it is not a
    prediction of the future: events at one date, such as a sale, are to be removed from
    outcomes and propensities. To use only labels that were known at the cutoff, pass
    ``cv=CutoffSplit(3)``: each of its folds is divided by customers into three, and
    rows at cutoffs before the first fold are left out of the regression on effects. To
    evaluate effects forward in time, use `CutoffSplit` around the whole estimator. For
    rows to predict, the models of the folds are averaged.

    **Propensities.** Learned ones are scaled, ``softmax_k(a_k + b log e_k)`` with ``b
    >= 0`` of largest likelihood on rows of other customers. If treatments are random,
    ``b`` is near 0 and propensities are nearly the shares of the arms, so that
    ``"learned"`` costs little in an experiment. `predict` with ``"x"`` weighs by the
    share of arms where propensities were given.

    **Overlap weights.** A pseudo-outcome of ``"dr"`` has about ``1 / e_k + 1 / e_0``
    times the variance of the outcome. With the weights ``e_0 e_k / (e_0 + e_k)``, rows
    count by the inverse variance, as they do with ``"r"`` [4]_. Weights that depend on
    `X` alone leave ``E[phi_k | x]`` as it is. Differences that the model of effects
    does not resolve are averaged over customers who could have been in both arms, and
    over all customers with ``overlap_weights=False``.

    **Calibration.** Pseudo-outcomes are noisy, and flexible models fit the noise. With
    ``calibrate=True`` there is a model ``tau_g`` of effects for each group ``g`` of
    customers, fitted on the others, and the effect is ``a + b mean_g tau_g``. The slope
    ``b >= 0`` is that of ``phi`` on the ``tau_g`` that did not see the customer, by
    weighted least squares, times ``mean_g v(tau_g) / v(mean_g tau_g)``, where ``v`` is
    the variance over rows; ``a`` makes the mean effect that of ``phi``. This is the
    cross-calibration of [5]_ with a line. If the effects of models are noise, ``b`` is
    about 0, and all customers get the mean effect. The ratio of variances is at most
    the number of groups, and ``b > 1`` with the standard error ``s`` over customers
    becomes ``1 + max(0, d - s**2 / d)``, ``d = b - 1``: with few customers, models that
    shrink effects would otherwise get slopes of 10 or 30 by chance.

    With ``"x"``, ``phi`` and overlap weights are those of ``"dr"``, and the models of
    group ``g`` have outcomes that were imputed without its customers, where one fold
    alone was fitted without them (as with 3 or None as `cv`). The slope is between 0
    and 1: the posterior mean of a normal prior with the mean 0.5 and the standard
    deviation 0.25, given ``b`` and its standard error.

    **The decision in the history.** Past contacts are events like others, and often
    confounders: keep them. The contact that is being decided must not be one of them.
    `fit` raises an error if all customers with some level in the last moment of a
    history, or with an event at the cutoff (`allow_exact_matches` of
    ``EventLog.attach``), are in one arm, unless chance explains it: with the share
    ``s`` of that arm, ``s ** n_customers >= 1e-6``. A contact that is logged some time
    before the cutoff, as the same type of event as earlier contacts, is not found: set
    the cutoff to the time of the decision. In encoded histories, which a meta-learner
    within `make_history_pipeline` gets, only events at the cutoff are found: put the
    pipeline into the meta-learner, ``UpliftClassifier(make_history_pipeline(...))``. A
    column of a DataFrame of which one value marks the rows of an arm is an error, too:
    the treatment itself, or a discount that is 0 without a contact.

    **Intervals.** A sample draws customers with replacement, each with all of their
    rows, and all models are fitted again with other seeds. A sample without an arm is
    drawn again. The intervals cover the sampling of customers and the seeds of
    networks, not the bias of estimators that shrink effects: with boosted trees,
    intervals of 90% contained 90% of the true effects with ``"t"`` in simulations, and
    75% with ``"dr"``, which is more accurate. ``n_networks`` of networks averages
    seeds: the variance is smaller, in predictions and in intervals.

    **Weights.** `sample_weight` is passed to the last step of each pipeline, by a
    request of metadata routing where there is one, and else by the name of the step.

    **Other packages.** econml 0.17 has these learners for tables of numbers. It
    converts `X` to floats, so that histories raise a TypeError, and its folds are of
    rows. With the same folds, propensities and linear models, without calibration and
    overlap weights, ``"t"``, ``"dr"`` and ``"r"`` have its effects to 8 digits.
    scikit-uplift 0.5 passes DataFrames on to estimators, also with histories, but has
    S- and T-learners of two arms only.

    References
    ----------
    .. [1] Künzel, S. R., Sekhon, J. S., Bickel, P. J. and Yu, B. (2019). Metalearners
       for estimating heterogeneous treatment effects using machine learning. PNAS
       116(10).
       https://doi.org/10.1073/pnas.1804597116
    .. [2] Kennedy, E. H. (2023). Towards optimal doubly robust estimation of
       heterogeneous causal effects. Electronic Journal of Statistics 17(2).
       https://doi.org/10.1214/23-EJS2157
    .. [3] Nie, X. and Wager, S. (2021). Quasi-oracle estimation of heterogeneous
       treatment effects. Biometrika 108(2). https://doi.org/10.1093/biomet/asaa076
    .. [4] Fisher, A. (2024). The connection between R-learning and inverse-variance
       weighting for estimation of heterogeneous treatment effects. ICML.
       https://arxiv.org/abs/2307.09700
    .. [5] van der Laan, L., Ulloa-Pérez, E., Carone, M. and Luedtke, A. (2023). Causal
       isotonic calibration for heterogeneous treatment effects. ICML.
       https://arxiv.org/abs/2302.14011

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.uplift import UpliftClassifier
    >>> journeys = make_customer_journeys(300, random_state=0)
    >>> log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(journeys.rows, cutoff="cutoff")
    >>> rng = np.random.default_rng(0)
    >>> mailed = rng.random(300) < 0.5
    >>> bought = rng.random(300) < np.where(mailed, 0.6, 0.3)
    >>> model = UpliftClassifier(random_state=0).fit(X, bought, treatment=mailed)
    >>> model.treatments_
    array([False,  True])
    >>> model.predict(X).shape, model.predict_outcomes(X).shape
    ((300,), (300, 2))
    >>> bool(model.predict(X).mean() > 0.2)
    True
    """

    _classify: ClassVar[bool] = True

    def _read_outcomes(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        y = read_labels(y)
        found = np.unique(y)
        self.classes_ = found
        if len(found) != 2:
            raise ValueError(
                f"UpliftClassifier needs 2 classes; y has {len(found)}, "
                f"{found[:5].tolist()}. Compare one class with the others, y == label."
            )
        return y, (y == found[1]).astype("float64")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Its outcomes are two classes; as a predictor of effects it is no classifier.
        tags.classifier_tags = ClassifierTags(multi_class=False)
        return tags
