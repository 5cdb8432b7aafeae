"""Histories to numbers: scaled channels and codes, learned from what rows can see."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import (
    check_is_fitted,
)

from sklearn_seqcrm._columns import ColumnRoles, Table
from sklearn_seqcrm._encoding import (
    EventEncoder,
    Layout,
    LearnedEncoding,
    learn,
    learn_rows,
    view_encoded,
)
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    check_feature_names_in,
    clone_with_fitted,
    of_history_transformer,
    one_task,
    output_wanted,
)
from sklearn_seqcrm.events import HistoryArray


class HistoryEncoder(TransformerMixin, CallbackSupportMixin, BaseEstimator):
    """Encode the events of history columns as numbers that a network can read.

    Every history column is encoded, every other column but the keys is passed through.
    What is learned comes from the events that the training rows can see, each counted
    once: the scaling of numeric fields, the levels of categorical fields, the typical
    gap between events, and which parts of the calendar the times support.

    Parameters
    ----------
    min_frequency : int, float or None, default=None
        Levels of a categorical field with fewer training events than this, or a
        smaller share of them if it is a float, have one code together.
    max_categories : int or None, default=1000
        At most this many levels of a field, the most frequent, have a code of their
        own.
    half_lives : "auto" or list of Timedelta, str or number, default="auto"
        Half-lives of the decayed counts and means that a network reads beside the
        events. ``"auto"``: 1, 4, 16 and 64 typical gaps between events.
    time_zone : str or None, default=None
        Zone whose clocks show the hour, the weekday and the time of the year of events
        and cutoffs, with daylight saving, such as ``"Europe/Berlin"``; for logs whose
        times have a zone, which are stored as UTC. None: UTC, or the hour that naive
        times show.
    pretrained : fitted LSTMEventModel, fitted HistoryEncoder or None, default=None
        What has learned of events before, perhaps of many more. The history columns
        that it knows are encoded as it encodes events: `min_frequency`,
        `max_categories` and `time_zone` are then for other columns alone. Row features
        are scaled by the training rows as ever. Clones keep it as it is, fitted.

    Attributes
    ----------
    layouts_ : dict of str to Layout
        For each history column: `channels` and `codes`, the names of its numbers,
        `n_levels` of each code, `time_unit` (ticks in a typical gap), `half_lives`,
        `calendar`, `local_clock` and `row_features`.
    n_features_in_ : int
        Number of columns seen in `fit`, the keys included.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names.

    See Also
    --------
    make_history_pipeline : Puts this encoder and the encoding of the other columns
        before an estimator.

    Notes
    -----
    A vector, such as the embedding of a text, becomes a channel for each component,
    with mean 0 and deviation 1 among the training events, and bounded by 10 such
    deviations. A missing one is 0 in all of them, beside a channel that marks it.
    Vectors have no decayed means beside the events: `pooling` is for that. They are not
    projected, as the input weights of a cell are a linear map already; to have fewer
    components, for memory, take those of a PCA that was learned on earlier events
    before the log is built.

    A number ``x`` becomes ``sign(z) * log1p(|z|)`` with ``z = (x - median) / (IQR /
    1.349)``, so that one huge order does not squeeze all others together. A missing
    or infinite number becomes 0, beside a channel that marks it if the training
    events had some. A datetime becomes days since the event. A level that training
    did not know and a missing one have a code each.

    Time enters as the logarithm of the gap to the customer's previous event (the first
    event that a row sees has none), and as sines and cosines of the hour (unless all
    times are equal within the day), the weekday, and the time of the year (from two
    years of events on). No channel depends on the cutoff, so that all rows of a
    customer share their events.

    The zone is a parameter, and not that of the log, because a model must read the log
    of tomorrow as it read that of its training, whatever zone the new times came in.
    Naive times are what clocks showed, and `time_zone` is refused for them: they may be
    local already. For customers in several zones, build the log from the naive times
    of each one's own clock; their cutoffs are local then, too. Lengths of time, such as
    gaps, are those between moments: over a night in which clocks are set forward, an
    hour less than between the naive times.

    The customer and cutoff columns that histories were attached by are keys, not
    features: they are left out, and need not be there when new rows are scored. They
    are known by the names that they had then, and by what they hold: a column that
    repeats the customers or the cutoffs of all training rows is a key under any name.

    The cost of `transform` follows the events that the rows can see, not the size of
    the log. The result holds no event after a row's cutoff. The events of a log on a
    disk (`EventLog.open`) stay there, and are encoded whenever a batch reads them: to
    the last bit as in memory.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.preprocessing import HistoryEncoder
    >>> orders = pd.DataFrame(
    ...     {"who": ["a", "a", "b"], "time": [0, 2, 1], "amount": [5.0, 7.0, 6.0]}
    ... )
    >>> X = EventLog(orders, "who", "time").attach(pd.DataFrame({"who": ["a", "b"]}))
    >>> encoder = HistoryEncoder().fit(X)
    >>> encoder.layouts_["history"].channels
    ('amount', 'time_gap')
    >>> encoder.transform(X)["history"].array.to_frame().round(2)
      who  time  amount  time_gap
    0   a     0   -0.85       0.0
    0   a     2    0.85       0.0
    1   b     1    0.00       0.0
    """

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, list[Any]] = {
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "max_categories": [Interval(Integral, 1, None, closed="left"), None],
        "half_lives": [StrOptions({"auto"}), list, tuple, np.ndarray],
        "time_zone": [str, None],
        "pretrained": [HasMethods(["fit", "transform"]), None],
    }

    def __init__(
        self,
        *,
        min_frequency: float | None = None,
        max_categories: int | None = 1000,
        half_lives: Literal["auto"] | list[Any] | tuple[Any, ...] | np.ndarray = "auto",
        time_zone: str | None = None,
        pretrained: Any = None,
    ) -> None:
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.half_lives = half_lives
        self.time_zone = time_zone
        self.pretrained = pretrained

    def __sklearn_clone__(self) -> Self:
        return clone_with_fitted(self, "pretrained")

    @one_task
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn scales, levels and units from the events that the rows can see.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with at least one history column.
        y : None
            Ignored.

        Returns
        -------
        HistoryEncoder
            The fitted encoder.

        Raises
        ------
        ValueError
            If there is no history column or no row, `time_zone` is no zone or the times
            of a log have none, or `pretrained` has learned of no column of that name.
        TypeError
            If the histories are encoded already, or `pretrained` encodes none.
        """
        self._learn(X)
        return self

    @one_task
    def fit_transform(self, X: Any, y: Any = None) -> pd.DataFrame:
        """Learn, and encode the same rows.

        Learning encodes them anyway, so that this takes hardly longer than `fit`.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with at least one history column.
        y : None
            Ignored.

        Returns
        -------
        DataFrame of shape (n, n_columns)
            What ``fit(X).transform(X)`` returns, to the last bit.

        Raises
        ------
        ValueError
            If there is no history column or no row, `time_zone` is no zone or the times
            of a log have none, or `pretrained` has learned of no column of that name.
        TypeError
            If histories are encoded already, `pretrained` encodes none, or `set_output`
            asks for polars.
        """
        self._refuse_polars()
        return self._learn(X)

    def transform(self, X: Any) -> pd.DataFrame:
        """Replace each history column by views of an encoded log.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns seen in `fit`, in any order. Further ones, keys among
            them, are ignored.

        Returns
        -------
        DataFrame of shape (n, n_columns)
            The same rows, with the columns in the order of `fit`; numbers, codes and
            row features are behind the histories.

        Raises
        ------
        ValueError
            If a column seen in `fit` is missing, a log has other fields, or there is
            no row.
        TypeError
            If a column that held histories holds something else, or `set_output` asks
            for polars.
        """
        check_is_fitted(self)
        self._refuse_polars()
        table = self._read(X, self._learned.reading)
        encoded = table.frame.copy(deep=False)
        for name, encoder in self._learned.encoders.items():
            array = table.histories[name]
            rows = view_encoded(encoder, array.rows, name)
            encoded[name] = HistoryArray.of(rows, array.dtype)
        return encoded

    def _read(self, X: Any, reading: ColumnRoles) -> Table:
        """The columns that were learned, whose histories must be raw and there."""
        table = reading.select(X, self).refuse_no_rows("HistoryEncoder")
        return table.refuse_encoded("HistoryEncoder").refuse_missing()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns, which stay as they are.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            None, or the names that `fit` saw.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            The names of all columns but the keys.
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features)
        return self._learned.reading.columns.to_numpy(dtype=object)

    def __sklearn_tags__(self) -> Any:
        return of_history_transformer(super().__sklearn_tags__())

    def _learn(self, X: Any) -> pd.DataFrame:
        """Set what `fit` learns, and return what `transform` would of the same rows."""
        self._validate_params()
        table = Table.of(X)
        reading = ColumnRoles.of(table)
        reading.set_names(table.frame, self)
        table = self._read(table, reading)
        encoders: dict[Any, EventEncoder] = {}
        known = self._known_encoders(list(table.histories))
        encoded = table.frame.copy(deep=False)
        for name, array in table.histories.items():
            if name in known:
                encoders[name], rows = learn_rows(
                    known[name], array.rows, name, self.half_lives
                )
            else:
                encoders[name], rows = learn(
                    array.rows,
                    self.min_frequency,
                    self.max_categories,
                    self.half_lives,
                    self.time_zone,
                )
            encoded[name] = HistoryArray.of(rows, array.dtype)
        cut_off = [n for n, a in table.histories.items() if _are_cut_off(a)]
        self._learned = LearnedEncoding(encoders, reading, cut_off)
        self.layouts_: dict[Any, Layout] = {
            name: encoder.layout for name, encoder in encoders.items()
        }
        return encoded

    @property
    def _encoders(self) -> dict[Any, EventEncoder]:
        """How events are encoded, by history column; as an event model has it."""
        return self._learned.encoders

    def _known_encoders(self, histories: list[Any]) -> dict[Any, EventEncoder]:
        """Encoders of events that `pretrained` has learned, by history column."""
        if self.pretrained is None:
            return {}
        check_is_fitted(
            self.pretrained,
            msg=f"pretrained={type(self.pretrained).__name__} must have been fitted, "
            "on rows with histories; a grid of several takes "
            "FrozenEstimator(pretrained), as clones forget.",
        )
        known = getattr(self.pretrained, "_encoders", None)
        if known is None:
            raise TypeError(
                "pretrained must be a fitted LSTMEventModel or HistoryEncoder; got "
                f"{type(self.pretrained).__name__}."
            )
        if not set(known) & set(histories):
            raise ValueError(
                f"pretrained was fitted on histories in {list(known)}, and X has them "
                "in "
                f"{histories}. Give the column of events the same name."
            )
        return dict(known)

    def _refuse_polars(self) -> None:
        if output_wanted(self) == "polars":
            raise TypeError(
                "polars has no column for histories; use "
                "HistoryEncoder().set_output(transform='pandas'), which comes before "
                "the global configuration."
            )


def _are_cut_off(array: HistoryArray) -> bool:
    """Whether a history leaves out events from before its first one."""
    rows = array.rows
    filled = rows.stop > rows.start
    first = rows.log.timeline.offsets[rows.codes[filled]]
    return bool((rows.start[filled] > first).any())
