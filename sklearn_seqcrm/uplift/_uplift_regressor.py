"""x."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils import ClassifierTags
from sklearn.utils.multiclass import check_classification_targets

from sklearn_seqcrm._durations import as_quantities
from sklearn_seqcrm.uplift._base import BaseUplift


class UpliftRegressor(BaseUplift):
    """x."""

    _classify: ClassVar[bool] = False

    def _read_outcomes(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        y = column_or_1d(y, warn=True)
        outcome = check_array(as_quantities(y, "y"), ensure_2d=False, input_name="y")
        return y, outcome
