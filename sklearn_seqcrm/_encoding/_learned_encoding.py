"""What a fitted encoder of histories has learned, for who goes on from it."""

from __future__ import annotations

from typing import Any, NamedTuple

from sklearn_seqcrm._encoding._event_encoder import EventEncoder


class LearnedEncoding(NamedTuple):
    """What the encoder of all history columns of a table has learned.

    An encoder keeps it as ``_learned``, and others ask `learned_encoding`.

    Parameters
    ----------
    encoders : dict of str to EventEncoder
        What was learned of each history column.
    reading : Reading
        Columns of the table.
    cut_off : list of str
        History columns that a lookback had cut off in fit.
    """

    encoders: dict[Any, EventEncoder]
    reading: Any
    cut_off: list[Any]


def learned_encoding(transformer: Any) -> LearnedEncoding | None:
    """What a transformer has learned, if it is a fitted encoder of histories.

    Parameters
    ----------
    transformer : object
        Any step of a pipeline.
    """
    learned = getattr(transformer, "_learned", None)
    return learned if isinstance(learned, LearnedEncoding) else None
