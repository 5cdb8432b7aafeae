"""Warnings that name the line of the user, also those of another process."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any


def warn_user(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and name the line of the user; see `user_stacklevel`."""
    warnings.warn(text, category, stacklevel=user_stacklevel())


def user_stacklevel() -> int:
    """Return the `stacklevel` of a warning that names the line of the user.

    The innermost line outside of this package and the libraries that call it: fits may
    be called directly, in pipelines and in searches. Levels count from the caller of
    this function on, as in `warnings.warn`.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_internal(frame):
        frame, level = frame.f_back, level + 1
    return level


def _is_internal(frame: FrameType) -> bool:
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    return package in ("sklearn_seqcrm", "sklearn", "joblib")


def call_and_record(
    function: Callable[..., Any], *args: Any
) -> tuple[Any, list[tuple[str, type[Warning]]]]:
    """Call a function; return its result, and its warnings, which are not shown.

    The warnings are texts and categories. A worker process would print them, whatever
    the filters of the caller are, and so would each of the others. The caller can show
    each of them once. If the function raises an error, its warnings are shown before.
    """
    try:
        with warnings.catch_warnings(record=True) as found:
            result = function(*args)
    except Exception:
        # They may explain the error, with which they cannot be returned.
        for one in found:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        raise
    return result, [(str(one.message), _made_of_text(one.category)) for one in found]


def _made_of_text(category: type[Warning]) -> type[Warning]:
    """Return the class of a warning, or its first base class that takes one text."""
    for one in category.__mro__:
        try:
            one("")
        except TypeError:  # such as of InconsistentVersionWarning of scikit-learn
            continue
        return one
    return Warning
