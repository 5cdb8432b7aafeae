"""Customer histories of any length as a DataFrame column for scikit-learn.

Import from the packages: ``sklearn_seqcrm.events`` makes the histories,
``feature_extraction``, ``preprocessing`` and ``neural_network`` learn from them,
``ensemble`` puts networks and boosted trees together,
``targets`` computes labels, and ``model_selection`` validates models.

This module imports none of them, so that ``import sklearn_seqcrm`` is light: torch
is loaded only with packages that train networks, such as
``sklearn_seqcrm.neural_network``.
"""

__version__ = "0.2.0.dev0"
