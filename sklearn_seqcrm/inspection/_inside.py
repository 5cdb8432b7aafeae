"""A network at the end of a pipeline, to be looked into."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._reading import Table
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._lines import event_lines
from sklearn_seqcrm.inspection._other_events import OwnEvents


def network_of(estimator: Any, caller: str) -> Any:
    """Our network at the end of a pipeline; a TypeError if there is none."""
    network: Any = estimator[-1] if isinstance(estimator, Pipeline) else None
    if not hasattr(network, "_integrated_gradients"):
        last = type(estimator if network is None else network).__name__
        raise TypeError(
            f"{caller} needs a pipeline with one of our networks at its end, "
            f"make_history_pipeline(LSTMClassifier()) for example; got {last}, which "
            "has no gradients."
        )
    return network


class Inside(NamedTuple):
    """What is needed to look into a network.

    Parameters
    ----------
    network : estimator
        The last step of the pipeline.
    encoded : DataFrame of n rows
        What the steps before it make of X.
    table : Table of n rows
        X itself.
    history : str
        Name of the history column.
    at : int
        Its place among the history columns.
    """

    network: Any
    encoded: pd.DataFrame
    table: Table
    history: Any
    at: int

    @classmethod
    def of(
        cls, estimator: Any, X: Any, caller: str, history: Any, network: int
    ) -> Self:
        """Look into a fitted pipeline.

        Parameters
        ----------
        estimator : Pipeline
            Fitted, with one of our networks at its end.
        X : DataFrame of n rows
            Raw rows.
        caller : str
            Who asks, for errors.
        history : str or None
            Name of the history column; None: the only one.
        network : int
            Which of several networks.
        """
        check_is_fitted(estimator)
        found = network_of(estimator, caller)
        table = Table.of(X).refuse_no_rows(caller).refuse_encoded(caller)
        names = list(table.refuse_missing().histories)
        if history is None and len(names) > 1:
            raise ValueError(f"X has the histories {names}; say which: history=.")
        history = names[0] if history is None else history
        if history not in names:
            raise ValueError(f"history={history!r} is none of the histories {names}.")
        n_networks = len(found.nets_)
        if not -n_networks <= network < n_networks:
            raise ValueError(
                f"network={network!r} is none of the {n_networks} networks, which are "
                "counted from 0."
            )
        encoded = estimator[:-1].transform(table.frame)
        return cls(found, encoded, table, history, names.index(history))

    @property
    def array(self) -> HistoryArray:
        """The raw histories."""
        return self.table.histories[self.history]

    def events(self) -> pd.DataFrame:
        """A line for each event that each row sees, row by row."""
        own = OwnEvents.of(self.array)
        nothing = np.zeros(len(own.event))
        lines = event_lines(self.history, self.array, own, "", None, nothing)
        return lines.drop(columns=["field", "value", "attribution"])
