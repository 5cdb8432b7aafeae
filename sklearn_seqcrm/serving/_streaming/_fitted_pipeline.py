"""The parts of a fitted pipeline, and the reasons why it cannot be streamed."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import ColumnRoles, to_customer_levels, to_days
from sklearn_seqcrm._encoding import EventEncoder, learned_encoding
from sklearn_seqcrm._recurrent.data import Inputs, read_inputs
from sklearn_seqcrm._recurrent.network import HistoryNetwork
from sklearn_seqcrm._sklearn_compat import safe_indexing
from sklearn_seqcrm.neural_network import BaseLSTM
from sklearn_seqcrm.neural_network import __all__ as _public

# Names of the estimators that may be the last step.
_ESTIMATORS = [name for name in _public if name.startswith("LSTM")]


class FittedPipeline(NamedTuple):
    """Copies of the parts of a fitted pipeline, which another fit does not change."""

    encoders: dict[Any, EventEncoder]  # learned encoding of each history column
    cut_off: list[Any]  # history columns with a lookback in fit
    roles: ColumnRoles  # columns that the pipeline was fitted on
    # Steps between the encoder and the estimator; None without any.
    statics: Pipeline | None
    estimator: BaseLSTM  # the last step, without its nets
    networks: list[HistoryNetwork]  # its networks, on the CPU, in float32
    # Columns in fit that the pipeline does not read: customers, cutoffs.
    unread: frozenset[Any]

    @classmethod
    def of(cls, pipeline: Any, user: str) -> FittedPipeline:
        """Take a fitted pipeline apart, or raise a TypeError if it has other steps.

        The error names the caller, `user`.
        """
        wanted = (
            f"{user} needs a fitted Pipeline of a HistoryEncoder, steps for the "
            f"statics and one of {', '.join(_ESTIMATORS)}, "
            "as make_history_pipeline returns"
        )
        if not isinstance(pipeline, Pipeline):
            raise TypeError(
                f"{wanted}; got {type(pipeline).__name__}. Of a hybrid or a search, "
                "pass hybrid.lstm_ or search.best_estimator_, or score from a log."
            )
        check_is_fitted(pipeline)
        (_, encoder), *between = pipeline.steps[:-1] or [("", None)]
        estimator: Any = pipeline.steps[-1][1]
        learned = learned_encoding(encoder)
        if learned is None or not isinstance(estimator, BaseLSTM):
            steps = [type(step).__name__ for _, step in pipeline.steps]
            raise TypeError(f"{wanted}; got a Pipeline of {steps}.")
        check_is_fitted(estimator, "nets_")
        between = [step for step in between if step[1] not in (None, "passthrough")]
        for name, step in between:
            _refuse_readers_of_events(name, step, list(learned.encoders))
        statics = Pipeline(copy.deepcopy(between)) if between else None
        networks = [_on_processor(net.module_) for net in estimator.nets_]
        # Without its nets: scores use `networks`, and pickles must not hold both.
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
            frozenset(getattr(encoder, "feature_names_in_", ()))
            - frozenset(learned.roles.columns),
        )

    def inputs_of(self, rows: pd.DataFrame) -> Inputs:
        """Return the inputs of the networks for rows with encoded histories."""
        frame = self.roles.select(rows, self.estimator).frame
        if self.statics is not None:
            frame = self.statics.transform(frame)
        sums = self.estimator._uses_sums
        return read_inputs(self.estimator, frame, reset=False, sums=sums)

    def streaming_obstacle(self) -> str | None:
        """Return why the pipeline cannot be streamed; None if it can."""
        if len(self.networks[0].readers[0].layers[0]) > 1:
            return (
                "A bidirectional network cannot be streamed: backwards, it processes "
                "the last event first, so that each event changes the outputs at all "
                "earlier ones. Fit with bidirectional=False."
            )
        if self.cut_off:
            return (
                f"The histories in {self.cut_off} were cut off by a lookback in fit, "
                "and cannot be streamed: events leave such a window one by one, and "
                "cannot be removed from a state. Fit on histories without a lookback; "
                "half_lives of the encoder and pooling='decay' discount old events."
            )
        return None


def _on_processor(network: HistoryNetwork) -> HistoryNetwork:
    """Return a copy for predictions on the CPU, in float32.

    In bfloat16 the state would be rounded after each call, so that scores would depend
    on how many events were read at once.
    """
    # A copy: further training, also in another thread, does not change it.
    network = copy.deepcopy(network).cpu().eval()
    for reader in network.readers:
        reader.precision = "float32"
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def _refuse_readers_of_events(name: str, step: Any, histories: list[Any]) -> None:
    """Raise a TypeError for a step between encoder and estimator that reads events.

    Rows to be scored have histories without events, see `streamed_histories`.
    """
    if not isinstance(step, ColumnTransformer):
        raise TypeError(
            f"The step {name!r} is a {type(step).__name__}, which may read events of "
            "the histories, and a scorer keeps none. Between the encoder and the "
            "estimator, use ColumnTransformers that pass histories through."
        )
    for part, transformer, columns in step.transformers_:
        # First: scikit-learn 1.6 warns when the columns of a remainder are accessed.
        # Two parts of make_history_pipeline read no events of a history: the one for
        # days to the cutoff, and the one for levels, which reads customers in `fit`.
        own = to_days, to_customer_levels
        if passes_through(transformer) or function_of(transformer) in own:
            continue
        reads = [one for one in names_of(step, columns) if one in histories]
        if reads:
            raise TypeError(
                f"The part {part!r} of the step {name!r} reads the histories {reads}, "
                "and a scorer keeps no events. Histories must be 'passthrough'."
            )


def names_of(step: ColumnTransformer, columns: Any) -> list[Any]:
    """Return the names of the columns of a part, in any form of selection."""
    chosen = [columns] if np.isscalar(columns) else columns
    table = pd.DataFrame(columns=getattr(step, "feature_names_in_", ()))
    return list(safe_indexing(table, chosen, axis=1))


def passes_through(transformer: Any) -> bool:
    """Return whether a fitted ColumnTransformer passes a part through, or drops it."""
    if isinstance(transformer, FunctionTransformer):  # what "passthrough" becomes
        return transformer.func is None
    return isinstance(transformer, str) and transformer in ("passthrough", "drop")


def function_of(transformer: Any) -> Any:
    """Return the function that a part begins with, or None."""
    steps = getattr(transformer, "steps", None)
    return getattr(steps[0][1], "func", None) if steps else None
