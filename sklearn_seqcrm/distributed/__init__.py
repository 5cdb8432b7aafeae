"""Training of one network by several processes, each with its own customers."""

from sklearn_seqcrm.distributed._fit_rank import fit_rank

__all__ = ["fit_rank"]
