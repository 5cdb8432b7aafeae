"""A generative model of events: what customers do next, and simulated futures."""

from sklearn_seqcrm.event_model._lstm_event_model import LSTMEventModel

__all__ = ["LSTMEventModel"]
