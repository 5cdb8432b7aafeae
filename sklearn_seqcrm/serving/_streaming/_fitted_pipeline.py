"""A fitted pipeline in pieces, and which pipelines a scorer cannot go on from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import ColumnRoles
from sklearn_seqcrm._encoding import EventEncoder, learned_encoding
from sklearn_seqcrm._recurrent.network import HistoryNetwork
from sklearn_seqcrm.neural_network import BaseLSTM


class FittedPipeline(NamedTuple):
    """A fitted pipeline in pieces, all of them copies of its own.

    Parameters
    ----------
    encoders : dict of str to EventEncoder
        What was learned of each history column.
    cut_off : list of str
        History columns that a lookback had cut off in fit.
    reading : ColumnRoles
        Columns that the pipeline was fitted on.
    statics : Pipeline or None
        Steps between encoder and estimator; None: there are none.
    estimator : BaseLSTM
        The last step, without its nets.
    networks : list of HistoryNetwork
        Its networks, on the processor.
    """

    encoders: dict[Any, EventEncoder]
    cut_off: list[Any]
    reading: ColumnRoles
    statics: Pipeline | None
    estimator: BaseLSTM
    networks: list[HistoryNetwork]

    @classmethod
    def of(
        cls, pipeline: Any, user: str, kinds: Sequence[type[BaseLSTM]]
    ) -> FittedPipeline:
        """Take a fitted pipeline apart.

        Parameters
        ----------
        pipeline : Pipeline
            The pipeline.
        user : str
            Who goes on from it, for errors.
        kinds : sequence of type
            Estimators that may be its last step.

        Raises
        ------
        TypeError
            If it is no pipeline of these steps.
        """
        *others, last = (kind.__name__ for kind in kinds)
        wanted = (
            f"{user} goes on from what a Pipeline of a HistoryEncoder, steps for the "
            f"statics and an {', '.join(others)} or {last} has learned, which "
            "make_history_pipeline makes"
        )
        if not isinstance(pipeline, Pipeline):
            raise TypeError(f"{wanted}; got {type(pipeline).__name__}.")
        check_is_fitted(pipeline)
        (_, encoder), *between = pipeline.steps[:-1] or [("", None)]
        estimator: Any = pipeline.steps[-1][1]
        learned = learned_encoding(encoder)
        if learned is None or not isinstance(estimator, tuple(kinds)):
            steps = [type(step).__name__ for _, step in pipeline.steps]
            raise TypeError(f"{wanted}; got a Pipeline of {steps}.")
        assert isinstance(estimator, BaseLSTM)
        check_is_fitted(estimator, "nets_")
        between = [step for step in between if step[1] not in (None, "passthrough")]
        for name, step in between:
            _refuse_readers_of_events(name, step, list(learned.encoders))
        statics = Pipeline(copy.deepcopy(between)) if between else None
        networks = [_on_processor(net.module_) for net in estimator.nets_]
        estimator = copy.copy(estimator)
        estimator._objective = copy.deepcopy(estimator._objective)
        del estimator.nets_
        return cls(
            learned.encoders,
            learned.cut_off,
            learned.roles,
            statics,
            estimator,
            networks,
        )

    def streaming_obstacle(self) -> str | None:
        """Why a state cannot tell what the pipeline reads; None: it can."""
        if len(self.networks[0].readers[0].layers[0]) > 1:
            return (
                "A bidirectional network cannot be streamed: backwards, it reads the "
                "last event first, so that each event changes what it made of all "
                "before. Fit with bidirectional=False."
            )
        if self.cut_off:
            return (
                f"The histories in {self.cut_off} were cut off by a lookback in fit, "
                "and cannot be streamed: events leave such a window one by one, and a "
                "state cannot forget one. Fit on histories without a lookback; "
                "half_lives of the encoder and pooling='decay' fade what is old."
            )
        return None


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
        # Before the columns, since scikit-learn 1.6 warns when those that remain are
        # looked at.
        if passes_through(transformer) or _reads_cutoffs(transformer):
            continue
        reads = [one for one in _names_of(step, columns) if one in histories]
        if reads:
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
