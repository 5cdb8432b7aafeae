"""Events as numbers that a network reads: learned, written, and said what they mean."""

from sklearn_seqcrm._encoding._encode_rows import encode_rows, view_encoded
from sklearn_seqcrm._encoding._encoded_log import EncodedLog
from sklearn_seqcrm._encoding._event_encoder import CALENDAR_WEIGHT, EventEncoder
from sklearn_seqcrm._encoding._fields import fitting_columns, kind_of_field
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
from sklearn_seqcrm._encoding._vocabulary import (
    FIRST_LEVEL,
    MISSING,
    UNSEEN,
    Vocabulary,
)

__all__ = [
    "CALENDAR_WEIGHT",
    "FIRST_LEVEL",
    "MISSING",
    "UNSEEN",
    "EncodedLog",
    "EventEncoder",
    "Layout",
    "LearnedEncoding",
    "NumericField",
    "VectorField",
    "Vocabulary",
    "encode_rows",
    "fitting_columns",
    "kind_of_field",
    "learn",
    "learn_rows",
    "learned_encoding",
    "row_features_of",
    "scale_row_features",
    "sums_of_amounts",
    "unfolded",
    "view_encoded",
]
