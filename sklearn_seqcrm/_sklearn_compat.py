"""Names of scikit-learn that are private, or not in every version, and callbacks.

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
from sklearn.base import TransformerMixin, _clone_parametrized, clone, is_classifier
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
from sklearn.utils.validation import _check_feature_names_in as check_feature_names_in
from sklearn.utils.validation import _check_method_params as check_method_params
from sklearn.utils.validation import _check_sample_weight as check_sample_weight
from sklearn.utils.validation import _num_samples as num_samples
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
    "check_method_params",
    "check_sample_weight",
    "clone_with_fitted",
    "has_callbacks",
    "is_count",
    "num_samples",
    "one_task",
    "output_wanted",
    "parse_version",
    "read_sample_weight",
    "refuse_no_target",
    "response_values",
    "safe_indexing",
    "split_by",
    "validate_parameter_constraints",
    "validate_params",
    "with_callbacks",
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
    """Return the predictions of a method (n,), those of one class if there are two.

    Of several methods, the first that the model has is called. Also returns the class:
    `pos_label`, for None the second one, and None if the model is no classifier.
    """
    return _get_response_values(estimator, X, method, pos_label)


def clone_with_fitted(estimator: Any, name: str) -> Any:
    """Clone an estimator, but keep the fitted model in its parameter `name`.

    For ``__sklearn_clone__``: a clone of the model would not be fitted.
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

        `attributes` returns the fitted attributes with which a copy of the estimator
        predicts as if `fit` had ended here, and is called if a callback needs a copy.
        """
        if self._context is None:
            return False
        return self._step.call_on_fit_task_end(
            **self._given, reconstruction_attributes=attributes
        )

    @contextmanager
    def fit_of(self, part: Any, name: str, X: Any, y: Any) -> Iterator[None]:
        """Make the fit of `part` on `X` and `y`, in the ``with`` block, a step."""
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
