"""Types of arguments in public signatures, as `help` and editors show them."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

# What `pd.Timedelta` takes, or a number where the times of the log are numbers.
Duration: TypeAlias = str | float | datetime.timedelta | np.timedelta64 | np.number[Any]
# What `pd.Timestamp` takes, or a number where the times of the log are numbers.
Time: TypeAlias = str | float | datetime.date | np.datetime64 | np.number[Any]
# Several values, as pandas uses the term. Not `Sequence`, which would include text.
ListLike: TypeAlias = (
    list[Any] | tuple[Any, ...] | np.ndarray[Any, Any] | pd.Index | pd.Series
)
# Rows that a network takes: histories and statics, padded tensors, or statics alone.
RowsLike: TypeAlias = pd.DataFrame | Mapping[str, np.ndarray] | ArrayLike
# Weights of the classes of one target.
OneClassWeight: TypeAlias = Mapping[Any, float] | Literal["balanced"] | None
# The same for all labels, or for each of several labels.
ClassWeight: TypeAlias = OneClassWeight | Sequence[OneClassWeight]


class ArrowStream(Protocol):
    """A table of any library that exports it as an Arrow stream."""

    @property
    def __arrow_c_stream__(self) -> Callable[..., object]:
        """Method that exports it."""


# pandas, polars and pyarrow tables, and queries that return one.
IntoTable: TypeAlias = "IntoFrame | ArrowStream"
FilePath: TypeAlias = str | os.PathLike[str]


class Estimator(Protocol):
    """An estimator or Pipeline, of scikit-learn or with its methods."""

    @property
    def fit(self) -> Callable[..., Any]:
        """Method that fits it."""

    @property
    def get_params(self) -> Callable[..., Any]:
        """Method that returns its parameters."""


class Splitter(Protocol):
    """A splitter of scikit-learn, or an object with its method."""

    @property
    def split(self) -> Callable[..., Any]:
        """Method that yields positions of training and test rows."""
