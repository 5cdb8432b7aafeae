"""Functions on estimators: private ones of scikit-learn, or not in every version.

No other module imports a private name of scikit-learn, so that a new version can break
only this file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import (
    TransformerMixin,
    _clone_parametrized,
    clone,
    is_classifier,
)
from sklearn.metrics._scorer import _Scorer as Scorer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils import get_tags
from sklearn.utils._param_validation import (
    HasMethods,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils._param_validation import validate_params as _validate_params
from sklearn.utils._response import _get_response_values
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.fixes import parse_version
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    get_routing_for_object,
)
from sklearn.utils.validation import (
    _check_feature_names_in as check_feature_names_in,
)
from sklearn.utils.validation import _check_sample_weight as check_sample_weight
from sklearn.utils.validation import has_fit_parameter

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as _with_callbacks
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """An empty base class: this version of scikit-learn has no callbacks."""

    def _with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        return method


# Arguments and result of a decorated function; scikit-learn's decorators lose their
# types.
P = ParamSpec("P")
R = TypeVar("R")

__all__ = [
    "DOC_LINK",
    "BaseSearchCV",
    "CallbackSupportMixin",
    "FitTask",
    "HasMethods",
    "HistoryTransformerMixin",
    "Interval",
    "Scorer",
    "StrOptions",
    "check_feature_names_in",
    "check_sample_weight",
    "clone_with_fitted",
    "fit_weighted",
    "has_callbacks",
    "innermost",
    "is_count",
    "one_task",
    "output_wanted",
    "parse_version",
    "read_sample_weight",
    "refuse_no_target",
    "refuse_other_task",
    "response_values",
    "route_fits",
    "safe_indexing",
    "seeded",
    "split_by",
    "takes_weights",
    "unwrapped",
    "validate_parameter_constraints",
    "validate_params",
    "weight_key",
    "with_callbacks",
    "with_inputs_of",
]

# URL of the documentation of an estimator, for its HTML representation: scikit-learn
# fills in the public package and the name of the class.
DOC_LINK = (
    "https://sklearn-seqcrm.readthedocs.io/en/stable"
    "/generated/{estimator_module}.{estimator_name}.html"
)


class Interval(_Interval):
    """scikit-learn's interval of numbers, without True, False and lengths of time.

    Booleans are integers in Python, so that ``n=True`` would be accepted as 1. Lengths
    of time of NumPy are integers as well, and cannot be compared with the ends.
    """

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is a number within the interval."""
        is_number = not isinstance(val, bool | np.timedelta64)
        return is_number and super().is_satisfied_by(val)


def is_count(value: Any, least: int = 1) -> bool:
    """Return whether a value is an integer of at least `least`; True is not."""
    return Interval(Integral, least, None, closed="left").is_satisfied_by(value)


def refuse_no_target(estimator: Any, y: Any) -> None:
    """Raise the error that scikit-learn's checks expect of a `fit` without `y`."""
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")


def refuse_no_estimator(part: Any, owner: str, role: str) -> None:
    """Raise a TypeError if a part of a meta-estimator is a class or no estimator.

    `owner` and `role` are the name of the meta-estimator, and of its parameter.
    """
    if isinstance(part, type):
        raise TypeError(
            f"{owner}({role}=...) needs an instance of an estimator; got the class "
            f"{part.__name__}. Write {part.__name__}()."
        )
    if not hasattr(part, "get_params"):
        raise TypeError(
            f"{owner}({role}=...) needs an estimator with get_params; got {part!r}."
        )


def refuse_other_task(part: Any, task: str, owner: str, role: str) -> None:
    """Raise a TypeError if a part of a meta-estimator cannot fit its targets.

    A regressor has no probabilities, and labels of a classifier would be taken for
    numbers silently.

    Parameters
    ----------
    part : estimator
        The part, not fitted.
    task : {"classification", "regression"}
        The task that it is needed for. For others, any estimator will do.
    owner, role : str
        Name of the meta-estimator, and of its parameter, for the error.
    """
    refuse_no_estimator(part, owner, role)
    last = part.steps[-1][1] if isinstance(part, Pipeline) else part
    name = type(last).__name__
    if task == "classification" and not hasattr(part, "predict_proba"):
        raise TypeError(
            f"{owner}({role}=...) needs a classifier with predict_proba; got {name}."
        )
    # Estimators that are not scikit-learn's may have no tags.
    has_tags = hasattr(part, "__sklearn_tags__")
    if task == "regression" and has_tags and is_classifier(part):
        raise TypeError(
            f"{owner}({role}=...) needs a regressor; got the classifier {name}, whose "
            "labels would be taken for numbers."
        )


def read_sample_weight(sample_weight: Any, X: Any) -> np.ndarray:
    """Return weights of rows, 1 for None; refuse negative ones, and only zeros."""
    weight = check_sample_weight(sample_weight, X, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("sample_weight is zero for all rows.")
    return weight


def split_by(
    splitter: Any, X: Any, y: Any, groups: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the folds of a splitter, with groups only if it does not ignore them.

    A splitter that ignores groups warns about them; its routing has no groups.
    """
    routing = getattr(splitter, "get_metadata_routing", None)
    ignored = routing is not None and not routing().split.requests.get("groups")
    return list(splitter.split(X, y, None if ignored else groups))


def validate_params(
    constraints: dict[str, Any], *, prefer_skip_nested_validation: bool = True
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Validate the parameters of a function, as scikit-learn's `validate_params`."""
    return _validate_params(
        constraints, prefer_skip_nested_validation=prefer_skip_nested_validation
    )


def with_callbacks(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a `fit` so that scikit-learn's callbacks end with it, if it has them."""
    return _with_callbacks(method)


def has_callbacks(estimator: Any) -> bool:
    """Return whether `set_callbacks` of scikit-learn has given an estimator some."""
    return bool(getattr(estimator, "_skl_callbacks", ()))


def output_wanted(estimator: Any) -> str:
    """Return the output of `transform` set by `set_output`, such as "pandas"."""
    return _get_output_config("transform", estimator)["dense"]


def response_values(
    estimator: Any, X: Any, method: str | list[str], pos_label: Any
) -> tuple[Any, Any]:
    """Return the predictions of a method, those of one class if there are two.

    Parameters
    ----------
    estimator : estimator
        A fitted model.
    X : DataFrame or array-like of n rows
        Rows.
    method : str or list of str
        The method, or several to try in turn.
    pos_label : int, float, bool, str or None
        The class; None for the second one.

    Returns
    -------
    values : ndarray of shape (n,)
        Predictions.
    pos_label : int, float, bool, str or None
        The class; None if the model is not a classifier.
    """
    return _get_response_values(estimator, X, method, pos_label)


def clone_with_fitted(estimator: Any, name: str) -> Any:
    """Clone an estimator, but keep the fitted model in one of its parameters.

    Parameters
    ----------
    estimator : estimator
        Estimator to clone, in its ``__sklearn_clone__``.
    name : str
        The parameter. A clone of its model would not be fitted.
    """
    cloned = _clone_parametrized(estimator)
    setattr(cloned, name, getattr(estimator, name))
    return cloned


class HistoryTransformerMixin(TransformerMixin):
    """A transformer of DataFrames with histories."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # a DataFrame, with columns of histories
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def with_inputs_of(tags: Any, estimators: Iterable[Any]) -> Any:
    """Set the input tags of a meta-estimator to those that all its estimators have.

    Parameters
    ----------
    tags : sklearn.utils.Tags
        Tags of the meta-estimator; changed in place.
    estimators : iterable of estimator
        The estimators. For a pipeline, the tags of its first step count.

    Returns
    -------
    sklearn.utils.Tags
        The same object.
    """
    taken = [get_tags(_first_step(one)).input_tags for one in estimators]
    for name in ("two_d_array", "sparse", "categorical", "string", "allow_nan"):
        setattr(tags.input_tags, name, all(getattr(one, name) for one in taken))
    return tags


def unwrapped(part: Any) -> Iterator[Any]:
    """Yield an estimator, the last step of a pipeline, what a search wraps, and so on.

    Parameters
    ----------
    part : estimator
        Estimator, or a pipeline, search or other meta-estimator of one.
    """
    names = ("estimator", "regressor", "classifier")
    while True:
        yield part
        if isinstance(part, Pipeline):
            part = part.steps[-1][1]
            continue
        wrapped = [getattr(part, name) for name in names if hasattr(part, name)]
        if not wrapped or not hasattr(wrapped[0], "get_params"):
            return
        part = wrapped[0]


def innermost(part: Any) -> Any:
    """Return the estimator within pipelines, searches, transformed targets, rates."""
    *_, last = unwrapped(part)
    return last


def _first_step(estimator: Any) -> Any:
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[0][1]
    return estimator


def seeded(part: Any, rng: np.random.RandomState) -> Any:
    """Return a clone in which every `random_state` of None is an integer."""
    part = clone(part)
    params = part.get_params()
    # Sorted: the draws must not depend on the order of the parameters.
    unset = [
        name
        for name in sorted(params)
        if name.split("__")[-1] == "random_state" and params[name] is None
    ]
    seeds = rng.randint(2**31 - 1, size=len(unset)).tolist()
    part.set_params(**dict(zip(unset, seeds, strict=True)))
    return part  # not the result of `set_params`: FrozenEstimator returns None


def weight_key(part: Any) -> str:
    """Return the name of `sample_weight` for the last step in the `fit` of a part."""
    # Without metadata routing, Pipeline takes "<step>__sample_weight".
    if isinstance(part, Pipeline):
        name, step = part.steps[-1]
        return f"{name}__{weight_key(step)}"
    inner = _wrapped(part)
    return "sample_weight" if inner is None else weight_key(inner)


def fit_weighted(estimator: Any, X: Any, y: Any, weight: np.ndarray | None) -> Any:
    """Fit a clone of an estimator, with weights in its last step.

    Parameters
    ----------
    estimator : estimator
        An estimator, a pipeline, or a search around one.
    X, y : n rows
        Rows and targets.
    weight : ndarray of shape (n,) or None
        Weights; None for none.

    Returns
    -------
    estimator
        The fitted clone.

    Raises
    ------
    TypeError
        If there are weights, and the last step takes none.
    """
    model = clone(estimator)
    if weight is None:
        return model.fit(X, y)
    name = "sample_weight"
    if get_config()["enable_metadata_routing"]:
        routing = get_routing_for_object(model)
        if name in routing.consumes("fit", [name]):
            return model.fit(X, y, sample_weight=weight)
    # Without a request, the last step gets the weights by their prefixed name, which
    # pipelines take only without routing.
    with config_context(enable_metadata_routing=False):
        try:
            return model.fit(X, y, **{weight_key(model): weight})
        except TypeError as error:
            if takes_weights(model) or name not in str(error):
                raise
            raise TypeError(
                "Rows have weights, and fit of the last step takes none: "
                f"{estimator!r}. Pass another estimator, or leave out sample_weight. "
                "The exposure of a RateRegressor makes weights, too."
            ) from error


def takes_weights(part: Any) -> bool:
    """Return whether the last step of a part takes `sample_weight` in `fit`."""
    inner = part.steps[-1][1] if isinstance(part, Pipeline) else _wrapped(part)
    if inner is None:
        return has_fit_parameter(part, "sample_weight")
    return takes_weights(inner)


def route_fits(router: MetadataRouter, parts: dict[str, Any]) -> MetadataRouter:
    """Add parts of a meta-estimator to its router: its `fit` calls theirs.

    Parameters
    ----------
    router : MetadataRouter
        Router of the meta-estimator; changed in place.
    parts : dict of str to estimator
        The parts.

    Returns
    -------
    MetadataRouter
        The same object.
    """
    mapping = MethodMapping().add(caller="fit", callee="fit")
    for name, part in parts.items():
        router.add(**{name: part}, method_mapping=mapping)
    return router


def _wrapped(part: Any) -> Any:
    """Return the estimator that a search passes the arguments of its `fit` to."""
    if has_fit_parameter(part, "sample_weight"):
        return None
    # GridSearchCV has an `estimator`, and TransformedTargetRegressor a `regressor`.
    return getattr(part, "estimator", getattr(part, "regressor", None))


class FitTask:
    """The task of a `fit` and its steps, for the callbacks of scikit-learn.

    Without callbacks, or before scikit-learn 1.9, its methods do nothing.

    Parameters
    ----------
    estimator : estimator
        Estimator with `CallbackSupportMixin`.
    X, y : object
        Arguments of `fit`.
    beside : dict of str to array-like or None, default=None
        Further arguments of `fit`, which scorers receive as well unless they are None.
    n_steps : int or None, default=0
        Largest number of steps; None if it is not known in advance.
    """

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        beside: dict[str, Any] | None = None,
        n_steps: int | None = 0,
    ) -> None:
        given = {name: one for name, one in (beside or {}).items() if one is not None}
        self._given = {"estimator": estimator, "X": X, "y": y, "metadata": given}
        self._context = None
        if hasattr(estimator, "_init_callback_context"):
            self._context = estimator._init_callback_context(max_subtasks=n_steps)
            self._context.call_on_fit_task_begin(**self._given)
        self._step: Any = None

    def begin_step(self, name: str) -> None:
        """Call callbacks at the beginning of a step."""
        if self._context is not None:
            self._step = self._context.subcontext(task_name=name)
            self._step.call_on_fit_task_begin(**self._given)

    def end_step(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Call callbacks at the end of the step; return whether one wants to stop.

        Parameters
        ----------
        attributes : callable
            Returns the fitted attributes with which a copy of the estimator predicts as
            if `fit` had ended here. Called only if a callback needs such a copy.
        """
        if self._context is None:
            return False
        return self._step.call_on_fit_task_end(
            **self._given, reconstruction_attributes=attributes
        )

    @contextmanager
    def fit_of(self, part: Any, name: str, X: Any, y: Any) -> Iterator[None]:
        """Make the fit of another estimator a step of this task.

        Parameters
        ----------
        part : estimator
            The estimator that is fitted within the ``with`` block.
        name : str
            Name of the step.
        X, y : object
            Arguments of its `fit`.
        """
        if self._context is None:
            yield
            return
        step = self._context.subcontext(task_name=name)
        given = {"estimator": self._given["estimator"], "X": X, "y": y}
        with step.propagate_callback_context(part):
            step.call_on_fit_task_begin(**given)
            yield
            step.call_on_fit_task_end(**given)

    def end(self) -> None:
        """Call callbacks at the end of `fit`."""
        if self._context is not None:
            # A copy of the fitted estimator needs no further attributes.
            self._context.call_on_fit_task_end(
                **self._given, reconstruction_attributes=dict
            )


def one_task(fit: Callable[P, R]) -> Callable[P, R]:
    """Decorate a `fit` or `fit_transform` without steps as one task for callbacks."""

    @with_callbacks
    @functools.wraps(fit)
    def fit_with_callbacks(*args: P.args, **kwargs: P.kwargs) -> R:
        estimator, X, y = _arguments(*args, **kwargs)
        task = FitTask(estimator, X, y)
        result = fit(*args, **kwargs)
        task.end()
        return result

    return fit_with_callbacks


def _arguments(self: Any, X: Any, y: Any = None) -> tuple[Any, Any, Any]:
    return self, X, y
