"""Events as numbers that a network reads: learned, written, and said what they mean."""

from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import EventEncoder

__all__ = ["EncodedLog", "EventEncoder"]
