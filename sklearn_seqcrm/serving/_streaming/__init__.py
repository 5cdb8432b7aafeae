"""Scores of customers from a small state each, updated by each new event."""

from sklearn_seqcrm.serving._streaming._fitted_pipeline import FittedPipeline
from sklearn_seqcrm.serving._streaming._statics_row import StaticsRowEncoder
from sklearn_seqcrm.serving._streaming._streaming_scorer import StreamingScorer
