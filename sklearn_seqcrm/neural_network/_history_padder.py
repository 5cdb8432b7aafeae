"""Padding of ragged histories to tensors for any torch net."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._recurrent.data import (
    HistorySource,
    Inputs,
    PaddedHistories,
    read_inputs,
)
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    HistoryTransformerMixin,
    Interval,
    StrOptions,
    one_task,
)


class HistoryPadder(HistoryTransformerMixin, CallbackSupportMixin, BaseEstimator):
    """Turn encoded histories and numeric statics into padded tensors.

    The tensors are inputs for your own torch and skorch nets. The networks of this
    module, such as `LSTMClassifier`, accept them as well, but are faster on encoded
    histories, which they pad batch by batch.

    Parameters
    ----------
    max_length : int or None, default=None
        Number of steps, T; longer histories are cut. None: the longest history of the
        rows in `fit`.
    padding : {"post", "pre"}, default="post"
        Put the zeros after or before the events.
    truncation : {"oldest", "newest"}, default="oldest"
        Which events of a long history are left out.

    Attributes
    ----------
    max_length_ : int
        Number of steps, at least 1.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names.

    Notes
    -----
    The result is a `skorch.helper.SliceDict`, which scikit-learn slices by rows, of

    - ``values`` (n, T, F), float32: the channels of `HistoryEncoder`, and last
      ``log1p(age)``, the age of each event at the row's cutoff in typical interarrival
      times;
    - ``codes`` (n, T, C), int64: codes of categorical fields, 0 for padding;
    - ``lengths`` (n,), int64: number of real steps, 0 for an empty history;
    - ``static`` (n, S), float32: the row features of the histories (time since the
      last event, number of events, decayed counts, ...), then the statics.

    With several history columns each has its name before the first three keys:
    ``orders_values``. If `HistoryEncoder` joins the events of a moment,
    ``tensors["moments"]``, or ``"orders_moments"``, is the number of the moment of each
    event, (n, T), int64, 0 in padding. It is not among the keys, since a module of your
    own would get it as an input. Memory is n times T, whatever the lengths: for ragged
    data that is mostly zeros.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import HistoryPadder
    >>> from sklearn_seqcrm.preprocessing import HistoryEncoder
    >>> orders = pd.DataFrame(
    ...     {"who": ["a", "a", "b"], "time": [0, 2, 1], "amount": [5.0, 7.0, 6.0]}
    ... )
    >>> X = EventLog(orders, "who", "time").attach(pd.DataFrame({"who": ["a", "b"]}))
    >>> X = HistoryEncoder().fit_transform(X)
    >>> tensors = HistoryPadder().fit_transform(X)
    >>> tensors["values"].shape, tensors["lengths"]
    ((2, 2, 3), array([2, 1]))
    >>> tensors["values"][:, :, 0].round(2)
    array([[-0.85,  0.85],
           [ 0.  ,  0.  ]], dtype=float32)
    """

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, list[Any]] = {
        "max_length": [Interval(Integral, 1, None, closed="left"), None],
        "padding": [StrOptions({"post", "pre"})],
        "truncation": [StrOptions({"oldest", "newest"})],
    }

    def __init__(
        self,
        max_length: int | None = None,
        padding: Literal["post", "pre"] = "post",
        truncation: Literal["oldest", "newest"] = "oldest",
    ) -> None:
        self.max_length = max_length
        self.padding = padding
        self.truncation = truncation

    if TYPE_CHECKING:  # scikit-learn's own has no types

        def fit_transform(self, X: Any, y: Any = None) -> PaddedHistories: ...

    @one_task
    def fit(self, X: pd.DataFrame, y: ArrayLike | None = None) -> Self:
        """Learn the number of steps.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Encoded histories and numeric statics.
        y : None
            Ignored.

        Returns
        -------
        HistoryPadder
            The fitted padder.

        Raises
        ------
        TypeError
            If histories are raw, or a static is not numeric.
        ValueError
            If there is no history column.
        """
        self._validate_params()
        inputs = self._read(X, reset=True)
        longest = max(source.events.lengths.max() for source in inputs.data.sources)
        # One step at least: kernels of other libraries refuse tensors without steps.
        self.max_length_ = int(max(1, self.max_length or longest))
        return self

    def transform(self, X: pd.DataFrame) -> PaddedHistories:
        """Pad the histories of some rows.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns seen in `fit`.

        Returns
        -------
        SliceDict of ndarray
            ``values``, ``codes``, ``lengths`` and ``static``, as in the Notes.

        Raises
        ------
        TypeError
            If histories are raw, or a static is not numeric.
        ValueError
            If a column of `fit` is missing.
        """
        check_is_fitted(self)
        inputs = self._read(X, reset=False)
        tensors: dict[str, np.ndarray] = {}
        moments: dict[str, np.ndarray] = {}
        for name, source in zip(inputs.names, inputs.data.sources, strict=True):
            prefix = f"{name}_" if len(inputs.names) > 1 else ""
            first, real = self._kept_events(source)
            padded = _pad(source.events, first, real)
            tensors |= {prefix + key: tensor for key, tensor in padded.items()}
            if source.levels is not None:
                moments[prefix] = _pad_moments(source, first, real)
        layout = dict(zip(map(str, inputs.names), inputs.specs, strict=True))
        found = PaddedHistories(**tensors, static=inputs.data.static)
        found.layout = layout if len(layout) > 1 else {"": inputs.specs[0]}
        found.padding, found.moments = self.padding, moments
        found.customers, found.sums = inputs.customers(), inputs.data.sums
        return found

    def set_output(self, *, transform: str | None = None) -> Self:
        """Do nothing: tensors are not a table. Pipelines call it for all steps.

        Parameters
        ----------
        transform : str or None, default=None
            Ignored.

        Returns
        -------
        HistoryPadder
            The padder itself.
        """
        return self

    def _read(self, X: Any, *, reset: bool) -> Inputs:
        inputs = read_inputs(self, X, reset=reset, sums=True)
        if not inputs.names:
            raise ValueError("X has no history column; EventLog.attach adds one.")
        return inputs

    def _kept_events(self, source: HistorySource) -> tuple[np.ndarray, np.ndarray]:
        """Return the first kept event of each row, and which steps hold events.

        The first are positions in the flat events, of shape (n,). The second, of shape
        (n, T), is True for steps that hold events and False for padding.
        """
        events, n_steps = source.events, self.max_length_
        lengths = np.minimum(events.lengths, n_steps)
        oldest = self.truncation == "oldest"
        first = events.stop - lengths if oldest else events.start
        real = np.arange(n_steps) < lengths[:, None]
        return first, real[:, ::-1] if self.padding == "pre" else real


def _pad(
    source: HistorySource, first: np.ndarray, real: np.ndarray
) -> dict[str, np.ndarray]:
    """Return padded tensors of events: those of row i, flat, are put into row i.

    The last channel is ``log(1 + age)`` of each event at the cutoff of its row.
    """
    lengths = real.sum(axis=1)
    # Row by row, in the order in which a mask assigns.
    event, _ = ranges(first, first + lengths)  # (n_events,)
    n_channels = source.channels.shape[1]
    values = np.zeros((*real.shape, n_channels + 1), "float32")
    codes = np.zeros((*real.shape, source.codes.shape[1]), "int64")
    # In units of the typical interarrival time, so that ages in seconds and in years
    # have the same range, and log1p keeps old events from dominating.
    ages = np.repeat(source.cutoff, lengths) - source.times[event]
    values[real, :n_channels] = source.channels[event]
    values[real, n_channels] = np.log1p(ages / source.time_unit)
    codes[real] = source.codes[event]
    if source.interarrival_channel is not None:
        # The first event that a row may see has no predecessor. Rows whose oldest
        # events are cut off start with a later event, which has one.
        uncut = np.flatnonzero((lengths > 0) & (first == source.start))
        values[uncut, real[uncut].argmax(axis=1), source.interarrival_channel] = 0
    return {"values": values, "codes": codes, "lengths": lengths}


def _pad_moments(
    source: HistorySource, first: np.ndarray, real: np.ndarray
) -> np.ndarray:
    """Return the number of the moment of each event, shape (n, T), int64."""
    events, lengths = source.events, real.sum(axis=1)
    moments = np.zeros(real.shape, "int64")
    every, numbers = source.visible_events(np.arange(len(lengths)))
    kept = every >= np.repeat(first, events.lengths)
    kept &= every < np.repeat(first + lengths, events.lengths)
    moments[real] = numbers[kept]
    return moments
