"""The line of the user that a warning names."""

from __future__ import annotations

import sys
from types import FrameType


def user_stacklevel() -> int:
    """Return the `stacklevel` of a warning that names the line of the user.

    The innermost line outside of this package and the libraries that call it: fits may
    be called directly, in pipelines and in searches.

    Returns
    -------
    int
        From the caller of this function on, as in `warnings.warn`.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_internal(frame):
        frame, level = frame.f_back, level + 1
    return level


def _is_internal(frame: FrameType) -> bool:
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    return package in ("sklearn_seqcrm", "sklearn", "joblib")
