"""x."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils import ClassifierTags
from sklearn.utils.multiclass import check_classification_targets

from sklearn_seqcrm._durations import as_quantities
from sklearn_seqcrm.uplift._base import BaseUplift


class UpliftClassifier(BaseUplift):
    """x."""

    _classify: ClassVar[bool] = True

    def _read_outcomes(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        y = column_or_1d(y, warn=True)
        check_array(y, ensure_2d=False, dtype=None, input_name="y")  # nothing missing
        check_classification_targets(y)
        found = np.unique(y)
        self.classes_ = found
        if len(found) != 2:
            raise ValueError(
                f"UpliftClassifier needs 2 classes; y has {len(found)}, "
                f"{found[:5].tolist()}. Compare one class with the others, y == label."
            )
        return y, (y == found[1]).astype("float64")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Its outcomes are two classes; as a predictor of effects it is no classifier.
        tags.classifier_tags = ClassifierTags(multi_class=False)
        return tags
