"""Shared by the hybrids: default parts, splits, the fit of both parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.model_selection import GroupKFold, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, indexable
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_consistent_length

from sklearn_seqcrm._columns import (
    customers_of,
    split_customers,
    with_attrs_of,
)
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    FitTask,
    Interval,
    check_sample_weight,
    safe_indexing,
    seeded,
    weight_key,
    with_inputs_of,
)
from sklearn_seqcrm.ensemble._blends import Blend, learn_weight
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline

_HIST_BOOSTING = HistGradientBoostingRegressor, HistGradientBoostingClassifier
# Boosting of scikit-learn raises an error for more categories in a column.
_MOST_CATEGORIES = 255
_UNLIMITED = {"lightgbm", "xgboost", "catboost"}  # packages without such a limit
# Rows of a customer are alike, so that trees overfit customers: with the defaults of
# scikit-learn, the log loss of 300 customers was that of a constant or more.
_SMALL_TREES = {
    "learning_rate": 0.05,
    "max_leaf_nodes": 5,
    "max_features": 0.3,
    # Its validation rows are drawn at random, so that customers are on both sides.
    "early_stopping": False,
}


def lstm_part(lstm: Any, classify: bool) -> Any:
    """Return a pipeline for raw X from a pipeline, a network, or None."""
    if _reads_raw(lstm):
        return lstm
    if lstm is None:
        lstm = _weighted(LSTMClassifier() if classify else LSTMRegressor())
    return make_history_pipeline(lstm)


def boosting_part(boosting: Any, classify: bool) -> Any:
    """Return a pipeline for raw X from a pipeline, an estimator of tables, or None."""
    if _reads_raw(boosting):
        return boosting
    if boosting is None:
        boosting = _weighted(_HIST_BOOSTING[classify](**_SMALL_TREES))
    features = HistoryAggregator(max_categories=_category_limit(boosting))
    return Pipeline([("features", features), ("estimator", boosting)])


def _category_limit(boosting: Any) -> int | None:
    """Return the largest number of categories of a column, None if unlimited.

    Searches, calibrations and ensembles have the limit of the estimators in them.
    """
    nested = [boosting, *boosting.get_params(deep=True).values()]
    # Also base classes, whose packages a subclass of a user does not have in its name.
    classes = [base for one in nested for base in type(one).__mro__]
    packages = {one.__module__.partition(".")[0] for one in classes}
    if packages & _UNLIMITED and not set(classes) & set(_HIST_BOOSTING):
        return None
    return _MOST_CATEGORIES


def _reads_raw(part: Any) -> bool:
    """Return whether a part is a pipeline, or a search or calibration around one."""
    # GridSearchCV, CalibratedClassifierCV and others wrap an `estimator`.
    while not isinstance(part, Pipeline) and hasattr(part, "estimator"):
        part = part.estimator
    return isinstance(part, Pipeline)


def _weighted(estimator: Any) -> Any:
    """Let an estimator request `sample_weight` where metadata are routed."""
    with config_context(enable_metadata_routing=True):
        return estimator.set_fit_request(sample_weight=True)


NAMES = ("lstm", "boosting")


class _Rows(NamedTuple):
    """Rows of X with their targets, customers and weights.

    `y` is passed to the parts and to splitters, with the attrs that the user's target
    has; `target`, codes of classes or floats, is passed to the losses.
    """

    X: Any
    y: np.ndarray | pd.Series
    target: np.ndarray
    customers: np.ndarray
    weight: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """Positions of the rows with a weight above 0."""
        return np.flatnonzero(self.weight)

    def take(self, rows: np.ndarray) -> _Rows:
        return _Rows(*(safe_indexing(one, rows) for one in self))


class BaseHybrid(CallbackSupportMixin, BaseEstimator, ABC):
    """Fit a network and boosted trees on the same rows, and blend their predictions.

    A subclass defines the conversion of targets, the output of a part, and the `Blend`
    of two predictions::

        split by customers         rows to fit on              rows held out
                                   lstm, boosting  --predict-->  first, second
        learn_weight                                             w
        refit on all rows          lstm_, boosting_
        predict                    blend(first, second; w)
    """

    _classify: ClassVar[bool]
    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, list[Any]] = {
        "lstm": [object],
        "boosting": [object],
        "lstm_weight": [Interval(Real, 0, 1, closed="both"), None],
        "cv": ["cv_object"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "refit": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        lstm: Any = None,
        boosting: Any = None,
        *,
        lstm_weight: float | None = None,
        cv: Any = None,
        validation_fraction: float = 0.2,
        refit: bool = True,
        random_state: Any = None,
    ) -> None:
        self.lstm = lstm
        self.boosting = boosting
        self.lstm_weight = lstm_weight
        self.cv = cv
        self.validation_fraction = validation_fraction
        self.refit = refit
        self.random_state = random_state

    # To be defined by a subclass ---------------------------------------------------

    @abstractmethod
    def _read_target(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the target for the parts and for the losses, each of shape (n,)."""

    @abstractmethod
    def _output(self, part: Any, X: Any) -> np.ndarray:
        """Return the predictions of a fitted part, in the form that `_blend` takes."""

    @abstractmethod
    def _blend(self, first: np.ndarray, second: np.ndarray) -> Blend:
        """Return the blend of two predictions."""

    def _can_fit(self, target: np.ndarray) -> bool:
        """Return whether the parts can be fitted on rows with these targets."""
        return True

    # fit and predict ---------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        self._validate_params()
        rows, given = self._read(X, y, sample_weight)
        rng = check_random_state(self.random_state)
        # Seeds are set once: the parts of all splits, and the final ones, share them.
        parts = {name: seeded(part, rng) for name, part in self._parts().items()}
        keys = self._weight_keys(parts, given)
        # The number of steps, fits of parts, depends on the splits.
        task = FitTask(self, X, y, {"sample_weight": sample_weight}, n_steps=None)
        fitted = None
        self.losses_: dict[str, float] = {}
        self.n_customers_ = 0
        weight = self.lstm_weight
        if weight is None:
            # Drawn only here, so that a given `lstm_weight` needs no further draw.
            seed = rng.randint(2**31 - 1)
            weight, fitted = self._learn(rows, parts, keys, seed, task)
        self.weights_ = {"lstm": float(weight), "boosting": 1 - float(weight)}
        if self.refit or fitted is None:
            fitted = _fit_parts(parts, keys, rows.take(rows.used), task)
        self.lstm_, self.boosting_ = (fitted[name] for name in NAMES)
        task.end()
        return self

    def _blended(self, X: Any) -> Blend:
        """Return the blend of the predictions of both parts."""
        return self._blend(self._output(self.lstm_, X), self._output(self.boosting_, X))

    @property
    def n_features_in_(self) -> int:
        """Number of columns that the network was fitted on."""
        return self.lstm_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns that the network was fitted on."""
        return self.lstm_.feature_names_in_

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the metadata that the `fit` of each part requests.

        Returns
        -------
        MetadataRouter
            The routing.
        """
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        for name, part in self._parts().items():
            mapping = MethodMapping().add(caller="fit", callee="fit")
            router.add(**{name: part}, method_mapping=mapping)
        return router

    def __sklearn_tags__(self) -> Any:
        return with_inputs_of(super().__sklearn_tags__(), self._parts().values())

    # Steps of fit ------------------------------------------------------------------

    def _parts(self) -> dict[str, Any]:
        """Return both parts, not fitted; the default for a part that is None."""
        lstm, boosting, classify = self.lstm, self.boosting, self._classify
        return {
            "lstm": lstm_part(None, classify) if lstm is None else lstm,
            "boosting": boosting_part(None, classify) if boosting is None else boosting,
        }

    def _read(self, X: Any, y: Any, sample_weight: Any) -> tuple[_Rows, bool]:
        """Check the arguments of `fit`; return rows, and whether they are weighted."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        X, y = indexable(X, y)
        values, target = self._read_target(y)
        check_consistent_length(X, values)
        given = sample_weight is not None
        weight = np.ones(len(values))
        if given:
            weight = check_sample_weight(sample_weight, X, ensure_non_negative=True)
            if not weight.any():
                raise ValueError("sample_weight is zero for all rows.")
        y = with_attrs_of(y, values)
        return _Rows(X, y, target, customers_of(X), weight), given

    def _weight_keys(self, parts: dict[str, Any], given: bool) -> dict[str, list[str]]:
        """Return the names that the weights have in the `fit` of each part."""
        if not given:
            return {name: [] for name in parts}
        if get_config()["enable_metadata_routing"]:
            # A placeholder: only the names of the routed arguments matter.
            routed = process_routing(self, "fit", sample_weight=True)
            return {name: list(routed[name].fit) for name in parts}
        return {name: [weight_key(part)] for name, part in parts.items()}

    def _learn(
        self,
        rows: _Rows,
        parts: dict[str, Any],
        keys: dict[str, list[str]],
        seed: int,
        task: FitTask,
    ) -> tuple[float, dict[str, Any] | None]:
        """Learn the weight of the network on held-out rows.

        Returns
        -------
        weight : float
            The weight; one half if no rows could be held out.
        fitted : dict of str to estimator, or None
            The parts fitted on the last split, which without `refit` is the only one.
        """
        folds = [
            (train, test)
            for train, test in self._folds(rows, seed)
            if len(train) and len(test) and self._can_fit(rows.target[train])
        ]
        if len(folds) > 1 and not self.refit:
            raise ValueError(
                "refit=False keeps the parts that are fitted when the weights are "
                f"learned, but there are {len(folds)} of each; use refit=True, or a cv "
                "of one split."
            )
        if not folds:
            return 0.5, None
        outputs = []
        for train, test in folds:
            fitted = _fit_parts(parts, keys, rows.take(train), task)
            X = safe_indexing(rows.X, test)
            outputs.append([self._output(fitted[name], X) for name in NAMES])
        # Held-out predictions of all splits together, for one weight: (n_held_out,), or
        # (n_held_out, n_classes). A row may be held out several times.
        first, second = (np.concatenate(one) for one in zip(*outputs, strict=True))
        blend = self._blend(first, second)
        held_out = np.concatenate([test for _, test in folds])
        target, row_weight = rows.target[held_out], rows.weight[held_out]
        customers = rows.customers[held_out]
        weight = learn_weight(blend, target, customers, row_weight)
        self.n_customers_ = len(np.unique(customers))
        # A weight of 1 is only the network, a weight of 0 only the boosted trees.
        self.losses_ = {
            name: float(np.average(blend.losses(target, one), weights=row_weight))
            for name, one in (("lstm", 1.0), ("boosting", 0.0), ("hybrid", weight))
        }
        return weight, fitted

    def _folds(self, rows: _Rows, seed: int) -> Iterator[tuple[Any, Any]]:
        """Yield rows to fit on and rows held out, all of them with weight."""
        used = rows.used
        # Rows without weight must not influence the split: leave them out, and renumber
        # the customers of the others by first appearance.
        codes, found = pd.factorize(rows.customers[used])
        splits: Any = []
        if isinstance(self.cv, Integral):
            splitter = GroupKFold(int(self.cv), shuffle=True, random_state=seed)
            splits = splitter.split(codes, groups=codes)
        elif self.cv is not None:
            # A splitter sees all rows: an iterable of splits counts them.
            used = np.arange(len(rows.y))
            splits = check_cv(self.cv).split(rows.X, rows.y, rows.customers)
        elif len(found) > 1:
            # Not the latest cutoff: one cutoff of 300 customers gave the network, which
            # was trained without the latest rows there, weights of 0 and 0.1 where
            # 0.5 was best. Customers gave 0.5 and 0.6.
            splits = [split_customers(codes, self.validation_fraction, seed)]
        for train, test in splits:
            train, test = used[train], used[test]  # positions, also of masks
            yield train[rows.weight[train] > 0], test[rows.weight[test] > 0]


def _fit_parts(
    parts: dict[str, Any], keys: dict[str, list[str]], rows: _Rows, task: FitTask
) -> dict[str, Any]:
    """Fit clones of both parts on the same rows, as steps of a fit."""
    fitted = {name: clone(part) for name, part in parts.items()}
    for name, part in fitted.items():
        with task.fit_of(part, f"fit-{name}", rows.X, rows.y):
            part.fit(rows.X, rows.y, **dict.fromkeys(keys[name], rows.weight))
    return fitted
