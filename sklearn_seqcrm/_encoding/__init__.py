"""Events as numbers that a network reads: learned, written, and said what they mean."""

from sklearn_seqcrm._encoding._encode_rows import encode_rows
from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import EventEncoder
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._encoding._learn import learn

__all__ = ["EncodedLog", "EventEncoder", "Layout", "encode_rows", "learn"]
