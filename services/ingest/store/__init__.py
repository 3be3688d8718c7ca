"""Ingest's Postgres.

`events` writes what wallets did, `positions` what they held, `counted` from which rows that was told, `known` what is
booked beside them, `contact` when we were looking, `markets` what markets are, `follows` whom we follow, `turns` whose
work a poll is.
"""

from services.ingest.store.contact import ContactStore
from services.ingest.store.counted import SERVICE
from services.ingest.store.events import IngestStore, Recorded
from services.ingest.store.markets import MarketStore
from services.ingest.store.positions import PositionStore
from services.ingest.store.turns import TurnStore

__all__ = ["SERVICE", "ContactStore", "IngestStore", "MarketStore", "PositionStore", "Recorded", "TurnStore"]
