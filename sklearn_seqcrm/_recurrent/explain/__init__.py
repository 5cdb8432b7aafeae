"""Gates, gradients and integrated gradients of a trained network."""

from sklearn_seqcrm._recurrent.explain._inside import Explained, gates, gradient_norms
from sklearn_seqcrm._recurrent.explain._integrated_gradients import (
    PathAttributions,
    Start,
    blanked_events,
    integrated_gradients,
)

__all__ = [
    "Explained",
    "PathAttributions",
    "Start",
    "blanked_events",
    "gates",
    "gradient_norms",
    "integrated_gradients",
]
