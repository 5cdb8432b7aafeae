"""Effects of contacts on customers: whom to contact."""

from sklearn_seqcrm.uplift._choose_contacts import choose_contacts
from sklearn_seqcrm.uplift._uplift_classifier import UpliftClassifier
from sklearn_seqcrm.uplift._uplift_regressor import UpliftRegressor

__all__ = ["UpliftClassifier", "UpliftRegressor", "choose_contacts"]
