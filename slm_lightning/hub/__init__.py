"""Everything that knows the HuggingFace Hub: what is sent there, listed and fetched, and what may go
wrong."""

from slm_lightning.hub.address import LIBRARY, SCHEME, Address, Entry, Kind, Listing
from slm_lightning.hub.card import BEGIN, CARD, END, Score, front_matter, merged
from slm_lightning.hub.client import Hub, Settle

__all__ = [
    "BEGIN",
    "CARD",
    "END",
    "LIBRARY",
    "SCHEME",
    "Address",
    "Entry",
    "Hub",
    "Kind",
    "Listing",
    "Score",
    "Settle",
    "front_matter",
    "merged",
]
