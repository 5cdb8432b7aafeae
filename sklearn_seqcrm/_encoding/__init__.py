"""Events as numbers that a network reads: learned, written, and said what they mean."""

from sklearn_seqcrm._encoding._encode_rows import encode_rows
from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import EventEncoder
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._encoding._learn import learn
from sklearn_seqcrm._encoding._number_field import NumericField
from sklearn_seqcrm._encoding._vocabulary import Vocabulary

__all__ = [
    "EncodedLog",
    "EventEncoder",
    "Layout",
    "NumericField",
    "Vocabulary",
    "encode_rows",
    "learn",
]
