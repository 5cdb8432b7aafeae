"""Shared by the hybrids: default parts, splits, the fit of both parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GroupKFold, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, indexable
from sklearn.utils.metadata_routing import MetadataRouter, process_routing
from sklearn.utils.validation import check_consistent_length

from sklearn_seqcrm._columns import (
    Table,
    connected_note,
    customers_of,
    has_histories,
    n_history_columns,
    refuse_few_customers,
    split_customers,
    warn_other_order,
)
from sklearn_seqcrm._meta_estimators import (
    refuse_other_task,
    route_fits,
    seeded,
    unwrapped,
    weight_key,
    with_inputs_of,
)
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    FitTask,
    Interval,
    StrOptions,
    read_sample_weight,
    refuse_no_target,
    safe_indexing,
)
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._typing import Estimator, Splitter
from sklearn_seqcrm.ensemble._blends import Blend, learn_weight
from sklearn_seqcrm.ensemble._parts import boosting_part, lstm_part
from sklearn_seqcrm.neural_network import BaseLSTM, FirstTraining, on_first_training

NAMES = ("lstm", "boosting")
# With fewer groups of connected rows, a warning says that weights depend on chance.
_FEW_GROUPS = 50


class Rows(NamedTuple):
    """Rows of X with their targets, customers and weights.

    `y` is passed to the parts and to splitters, with the attrs that the user's target
    has; `target`, numbers of shape (n,) or (n, n_columns), is passed to the losses.
    """

    X: Any
    y: Any
    target: np.ndarray
    customers: np.ndarray
    weight: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """Positions of the rows with a weight above 0."""
        return np.flatnonzero(self.weight)

    def take(self, rows: np.ndarray) -> Rows:
        return Rows(*(safe_indexing(one, rows) for one in self))


class _Job(NamedTuple):
    """The parts of one fit."""

    parts: dict[str, Any]  # both parts, with seeds
    # Names that the weights of rows have in the `fit` of each part.
    keys: dict[str, list[str]]
    task: FitTask  # the fit, of which the fits of parts are steps

    def fit(self, name: str, rows: Rows, part: Any = None) -> Any:
        """Fit `part`, or a clone of the named part, on rows, and return it."""
        part = clone(self.parts[name]) if part is None else part
        weights = dict.fromkeys(self.keys[name], rows.weight)
        with self.task.fit_of(part, f"fit-{name}", rows.X, rows.y):
            try:
                return part.fit(rows.X, rows.y, **weights)
            except (TypeError, ValueError) as error:
                is_bare = not any(isinstance(one, Pipeline) for one in unwrapped(part))
                if is_bare and has_histories(rows.X):
                    error.add_note(
                        f"{name} got the histories of X as they are. If it needs "
                        "tensors or a table, make it by make_hybrid."
                    )
                raise

    def fit_all(self, rows: Rows) -> dict[str, Any]:
        """Fit clones of both parts on the same rows."""
        return {name: self.fit(name, rows) for name in NAMES}


class BaseHybrid(CallbackSupportMixin, BaseEstimator, ABC):
    """Fit a network and boosted trees on the same rows, and blend their predictions.

    A subclass defines the conversion of targets, the output of a part, and the `Blend`
    of two predictions::

        split by customers         rows to fit on              rows held out
                                   lstm, boosting  --predict-->  first, second
        learn_weight                                             w
        refit on all rows          lstm_, boosting_
        predict                    blend(first, second; w)

    With ``cv="latest"``, the rows held out are those at the latest cutoffs, and `first`
    is what the network predicted for them before it was trained on all rows.
    """

    _task: ClassVar[str]  # "classification", "regression" or "survival"
    _learns_at_latest: ClassVar[bool] = True  # whether ``cv="latest"`` is supported
    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, list[Any]] = {
        "lstm": [object],
        "boosting": [object],
        "lstm_weight": [Interval(Real, 0, 1, closed="both"), None],
        "cv": [StrOptions({"latest"}), "cv_object"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "refit": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        lstm: Estimator | None = None,
        boosting: Estimator | None = None,
        *,
        lstm_weight: float | None = None,
        cv: int | Splitter | Iterable[Any] | Literal["latest"] | None = None,
        validation_fraction: float = 0.2,
        refit: bool = True,
        random_state: int | np.random.RandomState | None = None,
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
    def _read_target(self, y: Any) -> tuple[Any, np.ndarray]:
        """Return the target for the parts and for the losses, both of n rows."""

    @abstractmethod
    def _output(self, part: Any, X: Any) -> np.ndarray:
        """Return the predictions of a fitted part, in the form that `_blend` takes."""

    def _held_out_output(self, part: Any, X: Any) -> np.ndarray:
        """Return the same predictions of a part that was fitted without these rows."""
        return self._output(part, X)

    @abstractmethod
    def _blend(self, first: np.ndarray, second: np.ndarray) -> Blend:
        """Return the blend of two predictions."""

    def _adapt(self, parts: dict[str, Any]) -> dict[str, Any]:
        """Return the parts, wrapped where the target needs it."""
        return parts

    def _fit_obstacle(self, target: np.ndarray) -> str | None:
        """Return why the parts cannot be fitted on these targets; None if they can."""
        return None

    def _check_boosting(self, boosting: Any, rows: Rows) -> None:
        """Warn if fitted trees predict absurd numbers for their training rows.

        The weights are those that `fit` of the trees got.
        """
        return

    # fit and predict ---------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        self._validate_params()
        rows, given = self._read(X, y, sample_weight)
        if obstacle := self._fit_obstacle(rows.target[rows.used]):
            raise ValueError(obstacle)
        rng = check_random_state(self.random_state)
        # Seeds are set once: the parts of all splits, and the final ones, share them.
        parts = self._parts()
        for name, part in parts.items():
            refuse_other_task(part, self._task, type(self).__name__, name)
        parts = self._adapt(parts)
        parts = {name: seeded(part, rng) for name, part in parts.items()}
        keys = self._weight_keys(parts, given)
        # The number of steps, fits of parts, depends on the splits.
        beside = {"sample_weight": sample_weight}
        job = _Job(parts, keys, FitTask(self, X, y, beside, n_steps=None))
        self.losses_: dict[str, float] = {}
        self.n_customers_ = 0
        weight: float | None = self.lstm_weight
        fitted: dict[str, Any] = {}
        if weight is None and isinstance(self.cv, str):
            weight, fitted = self._learn_at_latest(rows, job)
        elif weight is None:
            # Drawn only here, so that a given `lstm_weight` needs no further draw.
            weight, of_split = self._learn(rows, job, rng.randint(2**31 - 1))
            fitted = {} if self.refit else of_split
        self.weights_ = {"lstm": float(weight), "boosting": 1 - float(weight)}
        if "boosting" not in fitted:  # otherwise both parts are fitted
            used = rows.take(rows.used)
            if "lstm" not in fitted:
                fitted["lstm"] = job.fit("lstm", used)
            fitted["boosting"] = job.fit("boosting", used)
            if not job.keys["boosting"]:
                used = used._replace(weight=np.ones(len(used.weight)))
            self._check_boosting(fitted["boosting"], used)
        self.lstm_, self.boosting_ = (fitted[name] for name in NAMES)
        job.task.end()
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
        return route_fits(router, self._parts())

    def __sklearn_tags__(self) -> Any:
        return with_inputs_of(super().__sklearn_tags__(), self._parts().values())

    # Steps of fit ------------------------------------------------------------------

    def _parts(self) -> dict[str, Any]:
        """Return both parts, not fitted; the default for a part that is None."""
        lstm, boosting, task = self.lstm, self.boosting, self._task
        return {
            "lstm": lstm_part(None, task) if lstm is None else lstm,
            "boosting": boosting_part(None, task, lstm)
            if boosting is None
            else boosting,
        }

    def _read(self, X: Any, y: Any, sample_weight: Any) -> tuple[Rows, bool]:
        """Check the arguments of `fit`; return rows, and whether they are weighted."""
        refuse_no_target(self, y)
        warn_other_order(X, y)
        warn_other_order(X, sample_weight, "sample_weight")
        X, y = indexable(X, y)
        y, target = self._read_target(y)
        check_consistent_length(X, target)
        given = sample_weight is not None
        weight = np.ones(len(target))
        if given:
            weight = read_sample_weight(sample_weight, X)
        return Rows(X, y, target, customers_of(X), weight), given

    def _weight_keys(self, parts: dict[str, Any], given: bool) -> dict[str, list[str]]:
        """Return the names that the weights have in the `fit` of each part."""
        if not given:
            return {name: [] for name in parts}
        if get_config()["enable_metadata_routing"]:
            # A placeholder: only the names of the routed arguments matter.
            routed = process_routing(self, "fit", sample_weight=True)
            return {name: list(routed[name].fit) for name in parts}
        return {name: [weight_key(part)] for name, part in parts.items()}

    def _learn_at_latest(self, rows: Rows, job: _Job) -> tuple[float, dict[str, Any]]:
        """Fit the network, and learn its weight on the rows at the latest cutoffs.

        A network that stops forward in time is trained twice: on rows whose windows had
        ended at the latest cutoffs, and then on all rows. What the first training
        predicts for the rows at the latest cutoffs is at hand, so that only the trees
        are fitted once more. Returns the weight, one half if a callback ended the
        training before or the earlier rows have one class of a label, and the network
        fitted on all rows.
        """
        part = clone(job.parts["lstm"])
        network = part[-1] if isinstance(part, Pipeline) else part
        self._check_latest(network)
        used, found = rows.take(rows.used), []

        def record(training: FirstTraining) -> None:
            if n_lost := len(used.y) - training.n_rows:
                raise ValueError(
                    f"The network leaves out {n_lost} of {len(used.y)} rows, whose "
                    "weight is 0 for it, as by class_weight. Leave them out of X, or "
                    "hold out customers by cv=None."
                )
            # At once: the second training changes the calibration of predictions.
            found.append((training, self._output(network, training.outputs)))

        with on_first_training(network, record):
            fitted = {"lstm": job.fit("lstm", used, part)}
        if not found:
            return 0.5, fitted
        training, first = found[-1]
        earlier, latest = used.take(training.train), used.take(training.latest)
        if self._fit_obstacle(earlier.target):
            return 0.5, fitted
        trees = job.fit("boosting", earlier)
        blend = self._blend(first, self._output(trees, latest.X))
        return self._weigh(blend, latest), fitted

    def _check_latest(self, network: Any) -> None:
        """Raise a ValueError if ``cv="latest"`` is impossible."""
        reason = None
        if not self._learns_at_latest:
            reason = "HybridSurvival does not support it"
        elif not self.refit:
            reason = "refit=False would keep a network without the latest rows"
        elif not isinstance(network, BaseLSTM):
            reason = f"the last step of lstm is no network; got {network!r}"
        if reason:
            raise ValueError(
                f"cv='latest' is impossible: {reason}. cv=None holds out customers."
            )

    def _learn(self, rows: Rows, job: _Job, seed: int) -> tuple[float, dict[str, Any]]:
        """Learn the weight of the network on held-out rows.

        Returns the weight, one half if no rows could be held out, and the parts fitted
        on the last split, which without `refit` is the only one; empty if no rows could
        be held out.
        """
        folds = [
            (train, test)
            for train, test in self._folds(rows, seed)
            if len(train) and len(test) and not self._fit_obstacle(rows.target[train])
        ]
        if len(folds) > 1 and not self.refit:
            raise ValueError(
                "refit=False keeps the parts that are fitted when the weights are "
                f"learned, but there are {len(folds)} of each; use refit=True, or a cv "
                "of one split."
            )
        if not folds:
            return 0.5, {}
        outputs = []
        for train, test in folds:
            fitted = job.fit_all(rows.take(train))
            X = safe_indexing(rows.X, test)
            outputs.append([self._held_out_output(fitted[name], X) for name in NAMES])
        # Held-out predictions of all splits together, (n_held_out, ...): one weight.
        # A row may be held out several times.
        first, second = (np.concatenate(one) for one in zip(*outputs, strict=True))
        held_out = rows.take(np.concatenate([test for _, test in folds]))
        return self._weigh(self._blend(first, second), held_out), fitted

    def _weigh(self, blend: Blend, rows: Rows) -> float:
        """Return the weight of the network; set the losses of the held-out rows."""
        weight = learn_weight(blend, rows.target, rows.customers, rows.weight)
        self.n_customers_ = len(np.unique(rows.customers))
        # A weight of 1 is only the network, a weight of 0 only the boosted trees.
        self.losses_ = {
            name: float(np.average(blend.losses(rows.target, one), weights=rows.weight))
            for name, one in (("lstm", 1.0), ("boosting", 0.0), ("hybrid", weight))
        }
        return weight

    def _folds(self, rows: Rows, seed: int) -> Iterator[tuple[Any, Any]]:
        """Yield rows to fit on and rows held out, all of them with weight."""
        if self.cv is None or isinstance(self.cv, Integral):
            # Rows without weight must not influence the split.
            used = rows.used
            splits = self._customer_splits(rows.X, rows.customers, used, seed)
        else:
            # A splitter sees all rows: an iterable of splits counts them.
            used = np.arange(len(rows.y))
            splits = check_cv(self.cv).split(rows.X, rows.y, rows.customers)
        for train, test in splits:
            train, test = used[train], used[test]  # positions, also of masks
            yield train[rows.weight[train] > 0], test[rows.weight[test] > 0]

    def _customer_splits(
        self, X: Any, customers: np.ndarray, used: np.ndarray, seed: int
    ) -> Iterable[tuple[Any, Any]]:
        """Return splits of the used rows by customers, as positions in `used`."""
        codes, found = pd.factorize(customers[used])  # by first appearance
        n_columns = n_history_columns(X)
        others = "splits" + " or 'latest'" * self._learns_at_latest
        if isinstance(self.cv, Integral):
            way_out = f"use more rows or a smaller cv, or pass {others} as cv"
            refuse_few_customers(codes, int(self.cv), n_columns, way_out)
            splitter = GroupKFold(int(self.cv), shuffle=True, random_state=seed)
            return splitter.split(codes, groups=codes)
        # Of several history columns, the one with the most customers.
        names = Table.of(X).histories if has_histories(X) else []
        n_unconnected = max(
            (len(np.unique(customers_of(X, name)[used])) for name in names), default=0
        )
        if len(found) < _FEW_GROUPS and len(found) < n_unconnected:
            warn_user(
                f"The weights are learned on few customers, a part of {len(found)}"
                f"{connected_note(n_columns)}. Pass {others} as cv, or a number as "
                "lstm_weight. With one customer, both weights are one half."
            )
        if len(found) < 2:
            return []
        # Not the latest cutoff: one cutoff of 300 customers gave the network, which was
        # trained without the latest rows there, weights of 0 and 0.1 where 0.5 was
        # best. Customers gave 0.5 and 0.6.
        fraction = "validation_fraction", self.validation_fraction
        return [split_customers(codes, *fraction, seed)]
