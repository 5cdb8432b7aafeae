"""A generative model of events: the next event, and simulated futures."""

from sklearn_seqcrm.event_model._lstm_event_model import LSTMEventModel

__all__ = ["LSTMEventModel"]
