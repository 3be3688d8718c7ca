"""Closed vocabularies: sides, scopes, kinds, decisions, sources."""

from enum import StrEnum


class Side(StrEnum):
    """Side of an order, from the wallet's own point of view."""

    BUY = "BUY"
    SELL = "SELL"


class Role(StrEnum):
    """Who rested and who crossed in a fill; takers pay the fee."""

    MAKER = "MAKER"
    TAKER = "TAKER"


class Scope(StrEnum):
    """Which kind of portfolio."""

    SHADOW_USER = "SHADOW_USER"
    EXEC_USER = "EXEC_USER"
    EXEC_GLOBAL = "EXEC_GLOBAL"


class EventKind(StrEnum):
    """What a followed wallet did. OTHER keeps rows whose type is not known yet.

    OPENING and ADJUSTMENT are no rows of activity: shares that its positions show and no fill explains.
    """

    TRADE = "TRADE"
    SPLIT = "SPLIT"
    MERGE = "MERGE"
    REDEEM = "REDEEM"
    CONVERSION = "CONVERSION"
    COMBO = "COMBO"
    ACCOUNT = "ACCOUNT"
    OTHER = "OTHER"
    OPENING = "OPENING"
    ADJUSTMENT = "ADJUSTMENT"


GROUPED_KINDS = frozenset({EventKind.TRADE, EventKind.SPLIT, EventKind.MERGE})
"""Kinds that are grouped, decided and copied."""


class GroupKind(StrEnum):
    """What a group asks us to copy."""

    TRADE = "TRADE"
    SPLIT = "SPLIT"
    MERGE = "MERGE"


class EventStatus(StrEnum):
    """A reorganised fill is reversed, never deleted."""

    CANONICAL = "CANONICAL"
    REVERSED = "REVERSED"


class Source(StrEnum):
    """Where a sighting came from."""

    CHAIN = "CHAIN"
    DATA_API = "DATA_API"


class Decision(StrEnum):
    """Outcome of a copy decision."""

    EXECUTE = "EXECUTE"
    SKIP = "SKIP"


class EntryType(StrEnum):
    """Ledger entry types, SPEC section 6."""

    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    OPENING = "OPENING"
    TRADE_FILL = "TRADE_FILL"
    FEE = "FEE"
    SPLIT = "SPLIT"
    MERGE = "MERGE"
    SETTLEMENT = "SETTLEMENT"
    ADJUSTMENT = "ADJUSTMENT"
    REVERSAL = "REVERSAL"


class MarkSource(StrEnum):
    """What a mark was taken from."""

    MIDPOINT = "MIDPOINT"
    LAST_TRADE = "LAST_TRADE"
    PAYOUT = "PAYOUT"
