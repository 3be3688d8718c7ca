"""The ledger's Postgres: `books` posts (through `session`, from `facts`), `sweeps` finds what was missed."""

from services.ledger.store.books import Books, Outcome
from services.ledger.store.statements import SNAPSHOTS
from services.ledger.store.sweeps import Sweeps

__all__ = ["SNAPSHOTS", "Books", "Outcome", "Sweeps"]
