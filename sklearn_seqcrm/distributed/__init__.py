"""Training of one network by several processes, each with its own customers."""

from sklearn_seqcrm.distributed._fit_on_ranks import fit_on_ranks
from sklearn_seqcrm.distributed._fit_rank import fit_rank
from sklearn_seqcrm.distributed._run_rank import run_rank

__all__ = ["fit_on_ranks", "fit_rank", "run_rank"]
