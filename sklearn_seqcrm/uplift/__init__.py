"""Effects of contacts on customers: whom to contact."""

from sklearn_seqcrm.uplift._choose_contacts import choose_contacts

__all__ = ["choose_contacts"]
