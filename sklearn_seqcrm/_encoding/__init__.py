"""Events as numbers that a network reads: learned, written, and said what they mean."""

from sklearn_seqcrm._encoding._encode_rows import encode_rows, view_encoded
from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import CALENDAR_WEIGHT, EventEncoder
from sklearn_seqcrm._encoding._fields import column_of_nothing, refuse_other_fields
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._encoding._learn import learn, learn_rows
from sklearn_seqcrm._encoding._learned_encoding import (
    LearnedEncoding,
    learned_encoding,
)
from sklearn_seqcrm._encoding._number_field import NumericField
from sklearn_seqcrm._encoding._row_features import (
    row_features_of,
    scale_row_features,
    sums_of_amounts,
    unfolded,
)
from sklearn_seqcrm._encoding._vector_field import VectorField
from sklearn_seqcrm._encoding._vocabulary import Vocabulary

__all__ = [
    "CALENDAR_WEIGHT",
    "EncodedLog",
    "EventEncoder",
    "Layout",
    "LearnedEncoding",
    "NumericField",
    "VectorField",
    "Vocabulary",
    "column_of_nothing",
    "encode_rows",
    "learn",
    "learn_rows",
    "learned_encoding",
    "refuse_other_fields",
    "row_features_of",
    "scale_row_features",
    "sums_of_amounts",
    "unfolded",
    "view_encoded",
]
