"""Pipeline from raw X, with histories and statics, to an estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from joblib import Memory
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from sklearn_seqcrm._columns import (
    ColumnsOfKind,
    CustomerTargetEncoder,
    StaticsTransformer,
    plain_name,
    static_parts,
)
from sklearn_seqcrm._meta_estimators import parameter_of, unwrapped
from sklearn_seqcrm._sklearn_compat import check_method_params, safe_indexing
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.preprocessing._history_encoder import HistoryEncoder


def make_history_pipeline(
    estimator: Estimator,
    *,
    many_levels: Literal["one-hot", "target"] = "one-hot",
    memory: str | Memory | None = None,
) -> Pipeline:
    """Make a pipeline that prepares raw `X` for an estimator of histories.

    Parameters
    ----------
    estimator : estimator
        Estimator of encoded histories and numeric statics, such as `LSTMClassifier`.
    many_levels : {"one-hot", "target"}, default="one-hot"
        Encoding of statics of more than 50 levels. ``"one-hot"``: the 49 most frequent
        levels, of those with at least 0.5% of the rows, have a column each, and all
        others share one. ``"target"``: the mean of the target of each level's
        customers, shrunken towards the mean of all.
    memory : str, joblib.Memory or None, default=None
        Cache of fitted steps, as in `sklearn.pipeline.Pipeline`.

    Returns
    -------
    Pipeline
        Pipeline with three steps and all ``predict_...`` methods of `estimator`, such
        as ``predict_quantile``. The steps:

        ``"encoder"``
            A `HistoryEncoder`.
        ``"statics"``
            A ColumnTransformer with the parts ``"numeric"`` (missing and infinite
            numbers become the median, and a further column marks them; then
            standardised), ``"datetime"`` (datetimes as days before the cutoff, then as
            numbers), and ``"category"`` (strings, categoricals and other objects
            one-hot; levels that are rare or unseen in training share a column).
            ``"level"``, with ``many_levels="target"``: those of more than 50 levels.
        ``"estimator"``
            `estimator`.

    Raises
    ------
    TypeError
        If `estimator` has a parameter `exposure` that is not the name of a column.
    ValueError
        If `many_levels` has another value.

    See Also
    --------
    HistoryEncoder : The first step.

    Notes
    -----
    The customer and cutoff columns by which a history was attached are keys, not
    features, and are dropped. A column of Python objects goes to the part that fits its
    values.

    Rows to be scored may have their columns in any order, and further columns, which
    are ignored.

    If `estimator` has a parameter `pretrained`, events are encoded as by that model.

    Target encodings of training rows are cross-fitted: the rows of a fifth of the
    customers are encoded by the targets of the others, because a customer's own targets
    would reveal the label of a row. Rows that are connected through any history column
    count as one customer, and each customer counts once per level. Levels that are new
    at prediction have the mean of all customers. If the estimator can validate forward
    in time, the rows at the latest cutoffs are encoded by labels that were known then.
    For that, its `horizon` and `validation_fraction` are copied to the encoder.
    Weights of rows are not used, but `fit` leaves out rows of weight 0. On data with
    stores and products, target encodings were as good as one-hot ones or better; the
    page on statics has the figures.

    A column named by the parameter ``exposure`` of `estimator` is passed on unchanged.

    If `set_params` changes the estimator, the other steps follow, except where they
    were given other values. Its parameters `exposure`, `pretrained`, `horizon` and
    `validation_fraction` are copied whenever they are set.

    Every part has its parameters, such as ``encoder__max_categories``,
    ``encoder__time_zone``, ``statics__numeric__simpleimputer__strategy`` and
    ``statics__category__onehotencoder__max_categories``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMRegressor
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> orders = pd.DataFrame(
    ...     {"who": list("aabbbc"), "day": range(6), "amount": [5.0, 7, 6, 1, 2, 4]}
    ... )
    >>> people = pd.DataFrame({"who": list("abc"), "age": [30, 41, 52]})
    >>> X = EventLog(orders, "who", "day").attach(people, cutoff=10)
    >>> model = make_history_pipeline(LSTMRegressor(max_epochs=2, random_state=0))
    >>> model.fit(X, [1.0, 2.0, 3.0]).predict(X).shape
    (3,)
    """
    if many_levels not in ("one-hot", "target"):
        raise ValueError(
            f"many_levels must be 'one-hot' or 'target'; got {many_levels!r}."
        )
    by_target = _target_encoder_for(estimator) if many_levels == "target" else None
    exposure = parameter_of(estimator, "exposure")
    if not isinstance(exposure, str | None):
        raise TypeError(
            "exposure must be the name of a column of X, such as exposure='days'; got "
            f"one of type {type(exposure).__name__}."
        )
    statics = StaticsTransformer(
        [
            ("history", "passthrough", ColumnsOfKind("history")),
            *_exposure_part(exposure),
            *static_parts(exposure, by_target),
        ],
        verbose_feature_names_out=plain_name,
    ).set_output(transform="pandas")
    # Intermediate tables are pandas, whatever output the user has configured.
    encoder = HistoryEncoder(pretrained=_pretrained_of(estimator))
    encoder.set_output(transform="pandas")
    return HistoryPipeline(
        [("encoder", encoder), ("statics", statics), ("estimator", estimator)],
        memory=memory,
    )


def _exposure_part(
    exposure: Any, transformer: Any = "passthrough"
) -> list[tuple[str, Any, Any]]:
    """Return the part of the statics that passes the exposure on, if there is one."""
    if exposure is None:
        return []
    return [("exposure", transformer, ColumnsOfKind("exposure", exposure))]


def _target_encoder_for(estimator: Any) -> CustomerTargetEncoder:
    """Return an encoder of levels by the target of an estimator."""
    *_, last = inner = list(unwrapped(estimator))
    if any(hasattr(one, "predict_survival_function") for one in inner):
        task = "survival"
    # An estimator of effects on classes has the tags of a classifier, and is none.
    elif any(get_tags(one).classifier_tags is not None for one in inner):
        task = "classification"
    else:
        task = "regression"
    share = getattr(last, "validation_fraction", "auto")
    return CustomerTargetEncoder(task, getattr(last, "horizon", None), share)


def _pretrained_of(estimator: Any) -> Any:
    """Return the pretrained model of an estimator, if it encodes histories."""
    found = (getattr(one, "pretrained", None) for one in unwrapped(estimator))
    return next((one for one in found if hasattr(one, "_encoders")), None)


def _names_of_weights(estimator: Any) -> set[Any]:
    """Return the names by which `fit` and metadata routing pass weights of rows."""
    names = {"sample_weight"}
    for one in unwrapped(estimator):
        # What `set_fit_request` set. The routing of a meta-estimator, which is public,
        # does not tell the names of its own arguments.
        requests = getattr(one, "_metadata_request", None)
        if requests is not None:
            names.add(requests.fit.requests.get("sample_weight"))
    return names


def _without_weightless(
    X: Any, y: Any, params: dict[str, Any], estimator: Any
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the rows, targets and arguments of `fit` without rows of weight 0."""
    names = _names_of_weights(estimator)
    for name, weight in params.items():
        if not {name, name.split("__")[-1]} & names:
            continue
        used = np.flatnonzero(weight)
        # Anything else is refused by the steps.
        is_one_each = np.shape(weight) == (len(X),) == np.shape(y)[:1]
        if is_one_each and 0 < len(used) < len(X):
            params = check_method_params(X, params, used)
            return safe_indexing(X, used), safe_indexing(y, used), params
    return X, y, params


_TARGET_ENCODER = "statics__level__customertargetencoder"


class HistoryPipeline(Pipeline):
    """Pipeline with all ``predict_...`` methods of its last step.

    scikit-learn's pipeline has only ``predict``, ``predict_proba`` and
    ``predict_log_proba``. Quantiles, for example, would need
    ``pipeline[-1].predict_quantile(pipeline[:-1].transform(X))``.
    """

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit all steps, as in scikit-learn.

        With ``many_levels="target"``, rows of weight 0 are left out.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with raw histories.
        y : array-like of n rows or None, default=None
            Targets.
        **params
            Arguments of the last step, such as ``estimator__sample_weight``.

        Returns
        -------
        HistoryPipeline
            The fitted pipeline.
        """
        if _TARGET_ENCODER in self.get_params():
            X, y, params = _without_weightless(X, y, params, self[-1])
        return super().fit(X, y, **params)

    def set_params(self, **kwargs: Any) -> Self:
        """Set parameters, and let the other steps follow the estimator.

        Parameters
        ----------
        **kwargs
            Parameters of the pipeline and its steps, as in scikit-learn.

        Returns
        -------
        HistoryPipeline
            The pipeline.
        """
        self._refuse_unknown_params(kwargs)
        before, exposure = self._derived_params(), self._exposure()
        super().set_params(**kwargs)
        if "steps" in kwargs:
            return self
        # A search over the parameters of the network must not leave other steps behind.
        params = self.get_params()
        changed = {
            name.rpartition("__")[2]
            for name in kwargs
            if name.startswith("estimator__")
        }
        for name, value in self._derived_params().items():
            # Other values that the user gave to another step are kept.
            follows = name not in before or params[name] == before[name]
            if name not in kwargs and (follows or name.rpartition("__")[2] in changed):
                super().set_params(**{name: value})
        moves = "exposure" in changed or self._exposure() != exposure
        if moves and not {"statics", "statics__transformers"} & kwargs.keys():
            self._move_exposure()
        return self

    def _derived_params(self) -> dict[str, Any]:
        """Return parameters of other steps by those of the estimator."""
        params = self.get_params()
        estimator = params.get("estimator")
        derived = {"encoder__pretrained": _pretrained_of(estimator)}
        if _TARGET_ENCODER in params and hasattr(estimator, "get_params"):
            of_levels = _target_encoder_for(estimator).get_params()
            derived |= {f"{_TARGET_ENCODER}__{n}": one for n, one in of_levels.items()}
        return {name: derived[name] for name in derived.keys() & params.keys()}

    def _exposure(self) -> str | None:
        """Return the exposure; None also if it is no column, which `fit` refuses."""
        exposure = parameter_of(self.named_steps.get("estimator"), "exposure")
        return exposure if isinstance(exposure, str) else None

    def _move_exposure(self) -> None:
        """Let the statics pass on the exposure of the estimator instead of another."""
        statics, exposure = self.named_steps.get("statics"), self._exposure()
        if not isinstance(statics, StaticsTransformer):
            return
        former: Any = "passthrough"
        parts: list[tuple[str, Any, Any]] = []
        for name, part, columns in statics.transformers:
            if name == "exposure":
                former = part
                continue
            # Columns that the user chose are kept.
            if name == "numeric" and isinstance(columns, ColumnsOfKind):
                columns = ColumnsOfKind("numeric", exposure)
            parts.append((name, part, columns))
        place = int(parts[0][0] == "history") if parts else 0
        parts[place:place] = _exposure_part(exposure, former)
        statics.set_params(transformers=parts)

    def _refuse_unknown_params(self, params: Mapping[str, Any]) -> None:
        """Raise a ValueError without the long repr that scikit-learn's would have."""
        # scikit-learn sets the steps first: other parameters may be those of new steps.
        steps = [step for step, _ in params.get("steps", self.steps)]
        for name in params:
            if name.partition("__")[0] in {*self.get_params(deep=False), *steps}:
                continue
            known = self.get_params()
            similar = [one for one in known if one.endswith(f"__{name}")]
            hint = f"Those of its steps begin with one of {steps} and two underscores."
            if similar:
                hint = f"Did you mean {' or '.join(map(repr, similar))}?"
            raise ValueError(f"Invalid parameter {name!r} for the pipeline. {hint}")

    def __getattr__(self, name: str) -> Any:
        """Return a ``predict_...`` method of the last step, for raw rows."""
        lacks = f"{type(self).__name__!r} object has no attribute {name!r}"
        # While it is unpickled, the pipeline has no steps yet.
        steps = self.__dict__.get("steps")
        if not name.startswith("predict_") or not steps:
            raise AttributeError(lacks)
        try:
            getattr(steps[-1][1], name)
        except AttributeError as error:
            # `available_if` has the reason as the cause: the loss, for example.
            reason = f": {error.__cause__}" if error.__cause__ else ""
            raise AttributeError(f"{lacks}{reason}") from error

        # Further arguments, such as `q` or `horizon`, are not transformed.
        def method(X: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(self[-1], name)(self[:-1].transform(X), *args, **kwargs)

        return method
