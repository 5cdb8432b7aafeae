"""Simulators of customers whose true probabilities are known, and public data."""

from sklearn_seqcrm.datasets._ad_auctions import make_ad_auctions
from sklearn_seqcrm.datasets._campaign_journeys import make_campaign_journeys
from sklearn_seqcrm.datasets._campaigns import make_campaigns
from sklearn_seqcrm.datasets._complete_journey import load_complete_journey
from sklearn_seqcrm.datasets._customer_journeys import make_customer_journeys
from sklearn_seqcrm.datasets._newsletter_opens import make_newsletter_opens
from sklearn_seqcrm.datasets._order_returns import make_order_returns

__all__ = [
    "load_complete_journey",
    "make_ad_auctions",
    "make_campaign_journeys",
    "make_campaigns",
    "make_customer_journeys",
    "make_newsletter_opens",
    "make_order_returns",
]
