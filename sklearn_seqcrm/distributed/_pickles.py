"""Pickles of what processes send each other, with the code of a notebook."""

from __future__ import annotations

import pickle
from typing import Any

from joblib import wrap_non_picklable_objects


def dumps(value: Any) -> bytes:
    """Pickle a value, with functions and classes of a notebook by their code."""
    return pickle.dumps(wrap_non_picklable_objects(value, keep_wrapper=False))


def picklable(error: Exception) -> Exception:
    """Return the exception, or its text in a RuntimeError if pickles lose it."""
    try:
        pickle.loads(dumps(error))
    except Exception:
        other = RuntimeError(repr(error))
        for note in getattr(error, "__notes__", []):
            other.add_note(note)
        return other
    return error
