"""Scores of customers whose events keep coming: a small state each, and no history."""

from sklearn_seqcrm.neural_network._streaming._one_row import OneRow
from sklearn_seqcrm.neural_network._streaming._parts import Parts
from sklearn_seqcrm.neural_network._streaming._streaming_scorer import StreamingScorer

__all__ = ["OneRow", "Parts", "StreamingScorer"]
