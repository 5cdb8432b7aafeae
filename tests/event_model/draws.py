"""Random numbers of paths, for several test files."""

import numpy as np

from sklearn_seqcrm.event_model._path_draws import PathDraws


def seeded_draws(seed, n):
    """Return n generators that follow from a seed."""
    return PathDraws.of_paths(np.full(n, seed, "uint64"), np.arange(n))
