"""Gates, gradients and integrated gradients of a trained network."""

from sklearn_seqcrm._recurrent.explain._inside import Explained, gates, gradient_norms
from sklearn_seqcrm._recurrent.explain._integrated_gradients import (
    PathAttributions,
    Start,
    event_blanking,
    integrated_gradients,
)
