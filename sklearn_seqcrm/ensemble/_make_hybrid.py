"""A hybrid of a network and boosted trees from their estimators."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypedDict, Unpack, overload

import numpy as np
from sklearn.base import is_classifier, is_regressor

from sklearn_seqcrm._meta_estimators import refuse_no_estimator, unwrapped
from sklearn_seqcrm._typing import Estimator, Splitter
from sklearn_seqcrm.ensemble._hybrid_classifier import HybridClassifier
from sklearn_seqcrm.ensemble._hybrid_regressor import HybridRegressor
from sklearn_seqcrm.ensemble._hybrid_survival import HybridSurvival
from sklearn_seqcrm.ensemble._parts import boosting_part, lstm_part, reads_raw

_HYBRIDS: dict[str, Any] = {
    "classification": HybridClassifier,
    "regression": HybridRegressor,
    "survival": HybridSurvival,
}


class _Options(TypedDict, total=False):
    """Parameters of all hybrids, for the overloads that type checkers read."""

    lstm_weight: float | None
    cv: Any
    validation_fraction: float
    refit: bool
    random_state: Any


# One overload per task: type checkers infer the class of the hybrid.


@overload
def make_hybrid(
    lstm: Estimator | None = None,
    boosting: Estimator | None = None,
    *,
    task: Literal["classification"],
    **options: Unpack[_Options],
) -> HybridClassifier: ...


@overload
def make_hybrid(
    lstm: Estimator | None = None,
    boosting: Estimator | None = None,
    *,
    task: Literal["regression"],
    **options: Unpack[_Options],
) -> HybridRegressor: ...


@overload
def make_hybrid(
    lstm: Estimator | None = None,
    boosting: Estimator | None = None,
    *,
    task: Literal["survival"],
    **options: Unpack[_Options],
) -> HybridSurvival: ...


@overload
def make_hybrid(
    lstm: Estimator | None = None,
    boosting: Estimator | None = None,
    *,
    task: None = None,
    **options: Unpack[_Options],
) -> HybridClassifier | HybridRegressor | HybridSurvival: ...


def make_hybrid(
    lstm: Estimator | None = None,
    boosting: Estimator | None = None,
    *,
    task: Literal["classification", "regression", "survival"] | None = None,
    lstm_weight: float | None = None,
    cv: int | Splitter | Iterable[Any] | Literal["latest"] | None = None,
    validation_fraction: float = 0.2,
    refit: bool = True,
    random_state: int | np.random.RandomState | None = None,
) -> HybridClassifier | HybridRegressor | HybridSurvival:
    """Blend a network with boosted trees that read the same raw `X`.

    Parameters
    ----------
    lstm : estimator, Pipeline or None, default=None
        A network, such as `LSTMClassifier`, which becomes the last step of a
        `make_history_pipeline`. A pipeline that reads raw `X`, or a search around one,
        is used as it is. None for a network with its defaults.
    boosting : estimator, Pipeline or None, default=None
        An estimator of tables, such as those of LightGBM and XGBoost, which becomes the
        step after `HistoryAggregator`. A pipeline that reads raw `X`, or a search
        around one, is used as it is, and so is a `DiscreteTimeSurvival`, a
        `RateRegressor`, a vote or a stack of pipelines that begin with
        `HistoryAggregator`. Votes and stacks pass weights to pipelines only with
        metadata routing: without it, a `fit` with `sample_weight`, or with a network
        that has an `exposure`, is an error. None for histogram-based gradient boosting
        of scikit-learn with small trees, see Notes.
    task : {"classification", "regression", "survival"} or None, default=None
        The task; None for the task of the parts.
    lstm_weight : float or None, default=None
        Weight of the network, between 0 and 1. None learns it.
    cv : int, splitter, iterable of splits, "latest" or None, default=None
        Splits to learn it on, see `HybridClassifier`. None holds out customers once.
    validation_fraction : float, default=0.2
        Share of the customers that is held out, between 0 and 1, if `cv` is None.
    refit : bool, default=True
        Whether to fit both parts again, on all rows, after learning the weight.
    random_state : int, RandomState or None, default=None
        Seed of the held-out customers, and of every `random_state` in the parts that is
        None.

    Returns
    -------
    HybridClassifier, HybridRegressor or HybridSurvival
        With the parts ``lstm`` (steps ``"encoder"``, ``"statics"``, ``"estimator"``)
        and ``boosting`` (steps ``"features"``, ``"estimator"``).

    Raises
    ------
    ValueError
        If `task` has another value, neither it nor a part determines the task, or they
        disagree.
    TypeError
        If a part is no estimator, or a class.

    See Also
    --------
    HybridClassifier : The result for classification.
    HybridRegressor : The result for regression.
    HybridSurvival : The result for times of events.

    Notes
    -----
    The parameters of each part can be searched: ``lstm__estimator__hidden_size``,
    ``boosting__estimator__learning_rate``, ``boosting__features__max_features``.

    A network of survival times makes a hybrid of survival models: a classifier as
    `boosting` becomes the classifier of a `DiscreteTimeSurvival` with the bins of the
    network, and its parameters are ``boosting__estimator__classifier__...``.

    Trees of a network with an `exposure` are fitted on rates, and trees of a `y` of
    several labels on each label; see `HybridRegressor` and `HybridClassifier`.

    The default trees take the loss of the network in `fit` (``loss="auto"``, see
    `HybridRegressor`), and have a learning rate of 0.05 and three tenths of the columns
    at each split. Rows of one customer are similar, so that the defaults of
    scikit-learn overfit a few hundred customers. Their class, a subclass of
    histogram-based gradient boosting of scikit-learn, also accepts
    ``max_leaf_nodes="auto"``: a leaf for each 1,500 training rows, but at least 5 and
    at most 15, and ``l2_regularization="auto"``: for a Poisson loss 3 times the
    variance of `y` divided by its mean, and some for rare classes. Trees of survival
    models have 5 leaves.

    `HistoryAggregator` returns text as categorical columns. It merges the rarest
    categories of a column with more than 255, the limit of scikit-learn's
    HistGradientBoosting. If `boosting` is, or wraps, an estimator of LightGBM, XGBoost
    or CatBoost, all categories are kept.

    XGBoost needs ``enable_categorical=True`` and the classes 0, 1, 2, ... CatBoost
    accepts no missing categories: pass a pipeline with one-hot encoding, as on the page
    on other tools.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.ensemble import make_hybrid
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier
    >>> journeys = make_customer_journeys(200, random_state=0)
    >>> log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(journeys.rows, cutoff="cutoff")
    >>> model = make_hybrid(LSTMClassifier(max_epochs=3), random_state=0)
    >>> model.fit(X, journeys.target).predict(X).shape
    (200,)
    """
    # The parts are built here, not in `fit`, so that their parameters can be searched.
    of = _task_of(lstm, boosting, task)
    return _HYBRIDS[of](
        lstm_part(lstm, of),
        boosting_part(boosting, of, lstm),
        lstm_weight=lstm_weight,
        cv=cv,
        validation_fraction=validation_fraction,
        refit=refit,
        random_state=random_state,
    )


def _task_of(lstm: Any, boosting: Any, task: str | None) -> str:
    """Return the one task of the arguments."""
    if task not in (*_HYBRIDS, None):
        raise ValueError(f"task must be one of {(*_HYBRIDS,)} or None; got {task!r}.")
    tasks = {"task": task} if task else {}
    for name, part in (("lstm", lstm), ("boosting", boosting)):
        if part is not None:
            refuse_no_estimator(part, "make_hybrid", name)
            tasks[name] = _task_of_part(name, part)
    if not tasks:
        raise ValueError(
            "What is to be predicted? Pass task='classification', 'regression' or "
            "'survival', or a part, such as LSTMClassifier()."
        )
    # A classifier of tables becomes one of person-periods.
    of_tables = boosting is not None and not reads_raw(boosting)
    if "survival" in tasks.values() and of_tables and is_classifier(boosting):
        tasks.pop("boosting")
    if len(set(tasks.values())) > 1:
        way = ""
        if "survival" in tasks.values() and tasks.get("boosting") == "classification":
            way = (
                " A DiscreteTimeSurvival makes a survival model of the classifier of a "
                "pipeline, make_pipeline(HistoryAggregator(), DiscreteTimeSurvival("
                "classifier))."
            )
        raise ValueError(f"All must have one task; got {tasks}.{way}")
    return next(iter(tasks.values()))


def _task_of_part(name: str, part: Any) -> str:
    """Return the task of a part."""
    if is_classifier(part):
        return "classification"
    if is_regressor(part):
        return "regression"
    if any(hasattr(one, "predict_survival_function") for one in unwrapped(part)):
        return "survival"
    raise ValueError(
        f"{name} must be a classifier, a regressor or a survival model; got {part!r}."
    )
