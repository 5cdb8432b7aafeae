"""Scores of customers whose events keep coming: a small state each, and no history."""

from sklearn_seqcrm.serving._streaming._fitted_pipeline import FittedPipeline
from sklearn_seqcrm.serving._streaming._statics_row import StaticsRowEncoder
from sklearn_seqcrm.serving._streaming._streaming_scorer import StreamingScorer
