"""What a scorer takes over of a fitted pipeline, and which pipelines have it not."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._encoding import EventEncoder
from sklearn_seqcrm._reading import Reading
from sklearn_seqcrm.neural_network._lstm_classifier import LSTMClassifier
from sklearn_seqcrm.neural_network._lstm_regressor import LSTMRegressor
from sklearn_seqcrm.neural_network._module import HistoryNetwork

_WANTED = (
    "StreamingScorer goes on from what a Pipeline of a HistoryEncoder, steps for the "
    "statics and an LSTMClassifier or LSTMRegressor has learned, which "
    "make_history_pipeline makes"
)


class Parts(NamedTuple):
    """A fitted pipeline in pieces, all of them copies of its own.

    Parameters
    ----------
    encoders : dict of str to EventEncoder
        What was learned of each history column.
    reading : Reading
        Columns that the pipeline was fitted on.
    statics : Pipeline or None
        Steps between encoder and estimator; None: there are none.
    estimator : LSTMClassifier or LSTMRegressor
        The last step, without its nets.
    networks : list of HistoryNetwork
        Its networks, on the processor.
    """

    encoders: dict[Any, EventEncoder]
    reading: Reading
    statics: Pipeline | None
    estimator: LSTMClassifier | LSTMRegressor
    networks: list[HistoryNetwork]

    @classmethod
    def of(cls, pipeline: Any) -> Parts:
        """Take a fitted pipeline apart.

        Parameters
        ----------
        pipeline : Pipeline
            The pipeline.

        Raises
        ------
        TypeError
            If it is no pipeline of these steps.
        ValueError
            If it reads what a state cannot tell.
        """
        if not isinstance(pipeline, Pipeline):
            raise TypeError(f"{_WANTED}; got {type(pipeline).__name__}.")
        check_is_fitted(pipeline)
        (_, encoder), *between = pipeline.steps[:-1] or [("", None)]
        estimator = pipeline.steps[-1][1]
        is_known = isinstance(estimator, LSTMClassifier | LSTMRegressor)
        if not hasattr(encoder, "layouts_") or not is_known:
            steps = [type(step).__name__ for _, step in pipeline.steps]
            raise TypeError(f"{_WANTED}; got a Pipeline of {steps}.")
        check_is_fitted(estimator, "nets_")
        _refuse_backwards(estimator)
        _refuse_windows(encoder)
        between = [step for step in between if step[1] not in (None, "passthrough")]
        for name, step in between:
            _refuse_readers_of_events(name, step, list(encoder._encoders))
        statics = Pipeline(copy.deepcopy(between)) if between else None
        networks = [_on_processor(net.module_) for net in estimator.nets_]
        estimator = copy.copy(estimator)
        estimator._objective = copy.deepcopy(estimator._objective)
        del estimator.nets_
        return cls(encoder._encoders, encoder._reading, statics, estimator, networks)


def _on_processor(network: HistoryNetwork) -> HistoryNetwork:
    """A copy to predict with. Where precision was less, it is float32.

    A state that is rounded after every event, and one that is after 64, differ.
    """
    # Neither training that goes on nor another thread changes it.
    network = copy.deepcopy(network).cpu().eval()
    for reader in network.readers:
        reader.precision = "float32"
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def _refuse_backwards(estimator: LSTMClassifier | LSTMRegressor) -> None:
    if estimator.net_.module__bidirectional:
        raise ValueError(
            "A bidirectional network cannot be streamed: backwards, it reads the last "
            "event first, so that each event changes what it made of all before. Fit "
            "with bidirectional=False."
        )


def _refuse_windows(encoder: Any) -> None:
    windows = encoder._windows
    if windows:
        raise ValueError(
            f"The histories in {windows} were cut off by a lookback in fit, and cannot "
            "be streamed: events leave such a window one by one, and a state cannot "
            "forget one. Fit on histories without a lookback; half_lives of the "
            "encoder and pooling='decay' fade what is old."
        )


def _refuse_readers_of_events(name: str, step: Any, histories: list[Any]) -> None:
    """Raise if a step between encoder and estimator may look at events.

    Histories that rows are scored with have no events, but only cutoffs.
    """
    if not isinstance(step, ColumnTransformer):
        raise TypeError(
            f"The step {name!r} is a {type(step).__name__}, which may read events of "
            "the histories, and a scorer keeps none. Between the encoder and the "
            "estimator, use ColumnTransformers that pass histories through."
        )
    for part, transformer, columns in step.transformers_:
        reads = [one for one in _names_of(step, columns) if one in histories]
        if reads and not (passes_through(transformer) or _reads_cutoffs(transformer)):
            raise TypeError(
                f"The part {part!r} of the step {name!r} reads the histories {reads}, "
                "and a scorer keeps no events. Histories must be 'passthrough'."
            )


def _names_of(step: ColumnTransformer, columns: Any) -> list[Any]:
    """Names of the columns of a part, however these were chosen."""
    names = getattr(step, "feature_names_in_", np.array([], dtype=object))
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, int):
        return [names[columns]]
    chosen = np.asarray(columns) if not isinstance(columns, slice) else columns
    if isinstance(chosen, slice) or chosen.dtype.kind in "bi":
        return list(names[chosen])
    return list(columns)


def _reads_cutoffs(transformer: Any) -> bool:
    """Whether this is the part of make_history_pipeline that counts days to cutoffs."""
    return function_of(transformer) == "to_days"


def passes_through(transformer: Any) -> bool:
    """Whether a fitted ColumnTransformer leaves these columns as they are."""
    if isinstance(transformer, FunctionTransformer):  # what "passthrough" becomes
        return transformer.func is None
    return isinstance(transformer, str) and transformer in ("passthrough", "drop")


def function_of(transformer: Any) -> str | None:
    """Name of the function of make_history_pipeline that a part begins with."""
    steps = getattr(transformer, "steps", None)
    function: Any = getattr(steps[0][1], "func", None) if steps else None
    if not getattr(function, "__module__", "").startswith("sklearn_seqcrm."):
        return None
    return function.__name__
