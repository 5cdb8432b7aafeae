"""A network and boosted trees on raw X, in one line."""

from __future__ import annotations

from typing import Any, Literal, overload

from sklearn.base import is_classifier, is_regressor

from sklearn_seqcrm.ensemble._base import boosting_part, lstm_part
from sklearn_seqcrm.ensemble._hybrid_classifier import HybridClassifier
from sklearn_seqcrm.ensemble._hybrid_regressor import HybridRegressor

_TASKS = ("classification", "regression")


@overload
def make_hybrid(
    lstm: Any = None,
    boosting: Any = None,
    *,
    task: Literal["classification"],
    lstm_weight: float | None = None,
    cv: Any = None,
    validation_fraction: float = 0.2,
    refit: bool = True,
    random_state: Any = None,
) -> HybridClassifier: ...


@overload
def make_hybrid(
    lstm: Any = None,
    boosting: Any = None,
    *,
    task: Literal["regression"],
    lstm_weight: float | None = None,
    cv: Any = None,
    validation_fraction: float = 0.2,
    refit: bool = True,
    random_state: Any = None,
) -> HybridRegressor: ...


@overload
def make_hybrid(
    lstm: Any = None,
    boosting: Any = None,
    *,
    task: None = None,
    lstm_weight: float | None = None,
    cv: Any = None,
    validation_fraction: float = 0.2,
    refit: bool = True,
    random_state: Any = None,
) -> HybridClassifier | HybridRegressor: ...


def make_hybrid(
    lstm: Any = None,
    boosting: Any = None,
    *,
    task: Literal["classification", "regression"] | None = None,
    lstm_weight: float | None = None,
    cv: Any = None,
    validation_fraction: float = 0.2,
    refit: bool = True,
    random_state: Any = None,
) -> HybridClassifier | HybridRegressor:
    """Blend a network with boosted trees that read the same raw `X`.

    Parameters
    ----------
    lstm : estimator, Pipeline or None, default=None
        A network, such as `LSTMClassifier`, which is put behind a
        `make_history_pipeline`; or a pipeline that reads raw `X`, or a search around
        one, as it is. None: a network with its defaults.
    boosting : estimator, Pipeline or None, default=None
        What reads tables, such as estimators of LightGBM and XGBoost, which is put
        behind `HistoryAggregator`; or a pipeline that reads raw `X`, or a search around
        one, as it is. None: histogram-based gradient boosting of scikit-learn.
    task : {"classification", "regression"} or None, default=None
        What is to be predicted. None: what the parts predict.
    lstm_weight : float or None, default=None
        Weight of the network, between 0 and 1. None: it is learned.
    cv : int, splitter, iterable of splits or None, default=None
        What it is learned on, see `HybridClassifier`. None: customers set aside once.
    validation_fraction : float, default=0.2
        Share of the customers that are set aside, between 0 and 1, if `cv` is None.
    refit : bool, default=True
        Fit both parts again, on all rows, when the weight is learned.
    random_state : int, RandomState or None, default=None
        Draws the customers that are set aside, and seeds whatever in the parts has no
        `random_state` of its own.

    Returns
    -------
    HybridClassifier or HybridRegressor
        With the parts ``lstm`` (steps ``"encoder"``, ``"statics"``, ``"estimator"``)
        and ``boosting`` (steps ``"features"``, ``"estimator"``).

    Raises
    ------
    ValueError
        If `task` is something else, neither it nor a part says what to predict, or
        they do not agree.

    See Also
    --------
    HybridClassifier : What it makes for classes.
    HybridRegressor : What it makes for numbers.

    Notes
    -----
    Every part has its parameters, for a search: ``lstm__estimator__hidden_size``,
    ``boosting__estimator__learning_rate``, ``boosting__features__max_features``.

    `HistoryAggregator` returns text as columns of categories, which
    HistGradientBoosting and LightGBM read. XGBoost needs ``enable_categorical=True``
    for them, and classes that are 0, 1, 2, ... CatBoost takes no missing categories
    and gets one-hot columns: ``make_pipeline(HistoryAggregator(), columns,
    CatBoostClassifier())``, with the `columns` of the page on other tools.

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
    classify = _task_of(lstm, boosting, task) == "classification"
    kind = HybridClassifier if classify else HybridRegressor
    return kind(
        lstm_part(lstm, classify),
        boosting_part(boosting, classify),
        lstm_weight=lstm_weight,
        cv=cv,
        validation_fraction=validation_fraction,
        refit=refit,
        random_state=random_state,
    )


def _task_of(lstm: Any, boosting: Any, task: str | None) -> str:
    """What all that is given says is to be predicted."""
    if task not in (*_TASKS, None):
        raise ValueError(f"task must be one of {_TASKS} or None; got {task!r}.")
    said = {"task": task} if task else {}
    for name, part in (("lstm", lstm), ("boosting", boosting)):
        if part is not None:
            if is_classifier(part):
                said[name] = "classification"
            elif is_regressor(part):
                said[name] = "regression"
            else:
                raise ValueError(
                    f"{name} must be a classifier or a regressor; got {part!r}."
                )
    if not said:
        raise ValueError(
            "What is to be predicted? Pass task='classification' or 'regression', or a "
            "part, such as LSTMClassifier()."
        )
    if len(set(said.values())) > 1:
        raise ValueError(f"All must have one task; got {said}.")
    return next(iter(said.values()))
