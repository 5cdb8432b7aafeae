"""Encoding of events as numbers: learn it, apply it, describe it."""

from sklearn_seqcrm._encoding._calendar import cycle_names
from sklearn_seqcrm._encoding._encode_rows import (
    columns_as_in_fit,
    encode_rows,
    rows_as_in_fit,
)
from sklearn_seqcrm._encoding._encoded_log import (
    EncodedLog,
    row_features_of,
    scale_row_features,
    sums_of_amounts,
    symexp,
)
from sklearn_seqcrm._encoding._event_encoder import (
    CALENDAR_WEIGHT,
    EventEncoder,
    LearnedEncoding,
    learned_encoding,
)
from sklearn_seqcrm._encoding._fields import (
    FIRST_LEVEL,
    MISSING,
    UNSEEN,
    NumericField,
    NumericScale,
    VectorField,
    Vocabulary,
)
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._encoding._learn import (
    EncoderOptions,
    learn,
    learn_rows,
    learning_of_events,
    moments_of_rows,
    with_half_lives,
    with_row_scale,
)
from sklearn_seqcrm._encoding._training import LevelCounts, Training
from sklearn_seqcrm._encoding._viewed_log import view_encoded
from sklearn_seqcrm._encoding._visits import SHARE_WITHOUT_OUTLIERS
