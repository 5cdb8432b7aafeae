"""Estimators that others wrap: their task, inputs, parameters, seeds and weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    get_routing_for_object,
)
from sklearn.utils.validation import has_fit_parameter


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

    A regressor has no probabilities, and labels of a classifier or risks of a survival
    model would be taken for numbers silently. For a `task` other than
    ``"classification"`` and ``"regression"``, any estimator will do. `owner` and `role`
    are as in `refuse_no_estimator`.
    """
    refuse_no_estimator(part, owner, role)
    last = part.steps[-1][1] if isinstance(part, Pipeline) else part
    name = type(last).__name__
    if task == "classification" and not has_method(part, "predict_proba"):
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
    if task != "regression" or (has_tags and is_regressor(part)):
        return
    if not hasattr(part, "predict"):
        raise TypeError(
            f"{owner}({role}=...) needs a regressor; got {name}, which has no predict."
        )
    if any(hasattr(one, "predict_survival_function") for one in unwrapped(part)):
        raise TypeError(
            f"{owner}({role}=...) needs a regressor; got the survival model {name}, "
            "whose predict returns risks, not numbers in the unit of y."
        )


def has_method(part: Any, name: str) -> bool:
    """Return whether a part of a meta-estimator has a method, at least after `fit`."""
    if hasattr(part, name):
        return True
    # A stack of scikit-learn has the methods of its final estimator, and those of the
    # default one, None, after `fit` only.
    inner = innermost(part)
    while getattr(inner, "final_estimator", None) is not None:
        inner = innermost(inner.final_estimator)
    return getattr(inner, "final_estimator", inner) is None and hasattr(
        type(inner), name
    )


def unwrapped(part: Any) -> Iterator[Any]:
    """Yield an estimator, the last step of a pipeline, what a search wraps, ..."""
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


def parameter_of(part: Any, name: str) -> Any:
    """Return a parameter of an estimator or of one that it wraps, the first not None.

    `part` may be None; `name` is, for example, ``"exposure"`` or ``"bins"``.
    """
    found = (getattr(one, name, None) for one in unwrapped(part))
    return next((value for value in found if value is not None), None)


def fitted_with(estimator: Any, name: str) -> Any:
    """Return what has an attribute: a fitted estimator, or what it fitted inside.

    That is the best estimator of a search, or the last step of a pipeline. If none of
    them has the attribute, the innermost is returned.
    """
    while not hasattr(estimator, name):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):  # a FrozenEstimator has those of its pipeline
            estimator = estimator.steps[-1][1]
        else:
            break
    return estimator


def with_inputs_of(tags: Any, estimators: Iterable[Any]) -> Any:
    """Set, in place, the input tags of a meta-estimator to those of all its estimators.

    For a pipeline, the tags of its first step count. Returns `tags`.
    """
    taken = [get_tags(_first_step(one)).input_tags for one in estimators]
    for name in ("two_d_array", "sparse", "categorical", "string", "allow_nan"):
        setattr(tags.input_tags, name, all(getattr(one, name) for one in taken))
    return tags


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


def route_fits(router: MetadataRouter, parts: dict[str, Any]) -> MetadataRouter:
    """Add parts of a meta-estimator to its router, which is returned.

    The `fit` of the meta-estimator calls that of each part.
    """
    mapping = MethodMapping().add(caller="fit", callee="fit")
    for name, part in parts.items():
        router.add(**{name: part}, method_mapping=mapping)
    return router


def fit_weighted(estimator: Any, X: Any, y: Any, weight: np.ndarray | None) -> Any:
    """Fit a clone of an estimator, with weights (n,) or None for its last step.

    The estimator may be a pipeline, or a search around one. A TypeError is raised if
    there are weights, and the last step takes none.
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


def weight_key(part: Any) -> str:
    """Return the name of `sample_weight` for the last step in the `fit` of a part."""
    # Without metadata routing, Pipeline takes "<step>__sample_weight".
    if isinstance(part, Pipeline):
        name, step = part.steps[-1]
        return f"{name}__{weight_key(step)}"
    inner = _wrapped(part)
    return "sample_weight" if inner is None else weight_key(inner)


def _wrapped(part: Any) -> Any:
    """Return the estimator that a search passes the arguments of its `fit` to."""
    if has_fit_parameter(part, "sample_weight"):
        return None
    # GridSearchCV has an `estimator`, and TransformedTargetRegressor a `regressor`.
    return getattr(part, "estimator", getattr(part, "regressor", None))
