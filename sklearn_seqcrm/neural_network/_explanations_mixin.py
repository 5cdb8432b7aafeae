"""Explanations of the predictions of a recurrent estimator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from sklearn_seqcrm._recurrent.data import Inputs
from sklearn_seqcrm._recurrent.explain import (
    Explained,
    PathAttributions,
    Start,
    event_blanking,
    gates,
    gradient_norms,
    integrated_gradients,
)
from sklearn_seqcrm._recurrent.objectives import Objective
from sklearn_seqcrm._recurrent.training import HistoryNet

# ``explained(predictions, rows)`` returns one number for each of some rows, from their
# ensemble predictions: probabilities of a classifier, and of others what `predict`
# returns.
Quantity: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


class ExplanationsMixin(ABC):
    """Gradients, attributions and states of the networks of an estimator."""

    nets_: list[HistoryNet]
    _objective: Objective

    @abstractmethod
    def _read_to_predict(self, X: Any) -> Inputs:
        """Read rows, and compare their shapes with `fit`."""

    def _integrated_gradients(
        self,
        X: Any,
        explained: Quantity,
        n_steps: int,
        moved: list[np.ndarray] | None = None,
        n_drawn: int = 0,
        seed: int = 0,
    ) -> PathAttributions:
        """Return integrated gradients of every input, by `n_steps` points on the path.

        `moved`, `n_drawn` and `seed` are those of `Start`; without `moved`, the
        baseline is 0 for all inputs. ``beside["static"]`` of the result has row
        features and statics in the order of X.
        """
        inputs = self._read_to_predict(X)
        of_outputs = self._explained_by(explained)
        start = None if moved is None else Start(moved, n_drawn, seed)
        return integrated_gradients(self.nets_, inputs.data, of_outputs, n_steps, start)

    def _blanked_events(
        self, X: Any, explained: Quantity, moved: list[np.ndarray]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the effects of blanking inputs of each event, and the outputs."""
        data = self._read_to_predict(X).data
        of_outputs = self._explained_by(explained)
        return event_blanking(self.nets_, data, of_outputs, Start(moved))

    def _explained_by(self, explained: Quantity) -> Explained:
        """Compose the explained quantity with the ensemble prediction."""
        objective = self._objective

        def of_outputs(outputs: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
            return explained(objective.combine(objective.predict, outputs), rows)

        return of_outputs

    def _gates(self, X: Any, i: int, layer: int, network: int) -> dict[str, np.ndarray]:
        """Return gates and states of a layer of one network after each event."""
        return gates(self.nets_[network], self._read_to_predict(X).data, i, layer)

    def _gradient_norms(
        self, X: Any, explained: Quantity, i: int, network: int
    ) -> np.ndarray:
        """Return gradient norms of one network over its state after each event."""
        data = self._read_to_predict(X).data
        of_outputs = self._explained_by(explained)
        return gradient_norms(self.nets_[network], data, i, of_outputs)
