"""Words people read for codes (UI.md section 7)."""

from typing import Final

REASONS: Final[dict[str, tuple[str, str]]] = {
    "ENGINE_PAUSED": ("Paused", "Copying was paused."),
    "USER_DISABLED": ("User off", "Copying this user was off."),
    "MARKET_UNKNOWN": ("Unknown market", "The market was not known when the decision was due."),
    "MARKET_CLOSED": ("Market closed", "The market took no orders any more."),
    "MARKET_CLOSING_SOON": ("Closing soon", "The market closes too soon to open something."),
    "MARKET_BLACKLISTED": ("Blacklisted", "The market is on the blacklist."),
    "STALE_EVENT": ("Seen too late", "Their trade was too old when it was decided on."),
    "BREAKER_DAILY_LOSS": ("Day loss", "The day's loss limit was reached."),
    "BREAKER_WEEKLY_LOSS": ("Week loss", "The week's loss limit was reached."),
    "BREAKER_DRAWDOWN": ("Drawdown", "The fall from the peak stopped opening."),
    "BELOW_MIN_NOTIONAL": ("Too small", "The order would have been below the smallest allowed."),
    "NO_POSITION": ("Nothing to sell", "They sold what we do not hold."),
    "NO_POSITION_TO_MERGE": ("Nothing to merge", "They merged what we do not hold."),
    "INSUFFICIENT_CASH": ("No cash", "There was not enough cash."),
    "RISK_CAP_TOTAL": ("Cap: total", "The cap of all positions was reached."),
    "RISK_CAP_MARKET": ("Cap: market", "The cap of this market was reached."),
    "RISK_CAP_USER": ("Cap: user", "The cap of this user was reached."),
    "RISK_CAP_GLOBAL": ("Cap: global", "A cap of the global portfolio was reached."),
    "BOOK_UNAVAILABLE": ("No book", "The order book could not be had in time."),
    "SPREAD_TOO_WIDE": ("Wide spread", "Best bid and best ask were too far apart."),
    "WORSE_THAN_THEIR_PRICE": ("Worse than theirs", "Our price would have been too much worse than theirs."),
    "CHASING_MID": ("Chasing", "Our price would have been too far beyond the middle of the book."),
    "INSUFFICIENT_DEPTH": ("Thin book", "Too little was on offer within our limit price."),
    "NO_LIQUIDITY_WITHIN_BOUNDS": ("Nothing in limit", "Nothing at all was on offer within our limit price."),
    "UNSUPPORTED_EVENT": ("Not copyable", "This kind of trade cannot be copied."),
}


def reason(code: str) -> tuple[str, str]:
    """Return a reason's short label and its sentence; an unknown code speaks for itself."""
    return REASONS.get(code, (code.replace("_", " ").capitalize(), "A reason this dashboard does not know."))
