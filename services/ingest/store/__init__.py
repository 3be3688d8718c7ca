"""Ingest's Postgres: `events` writes what wallets did, `markets` what markets are, `follows` whom we follow."""

from services.ingest.store.events import SERVICE, IngestStore, Recorded
from services.ingest.store.markets import MarketStore

__all__ = ["SERVICE", "IngestStore", "MarketStore", "Recorded"]
