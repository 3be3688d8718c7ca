"""Mutants that change nothing anybody could see, each with why; one that is noticed, or gone, must be taken out."""

from typing import Final

_WHYS: Final[dict[str, tuple[str, ...]]] = {
    "asked twice: who calls has asked already, this one tells the type checker": (
        "decide._Quote.describe: if self.book is not None  ->  if True",
        "decide._imagine: if outcome.target_notional_micros is None  ->  if False",
        "decide._execute: outcome.target_notional_micros or 0  ->  outcome.target_notional_micros",
    ),
    "a short cut: the long way comes to the same": (
        "decide._imagine: if limit == quote.limit  ->  if False",
        "walk.band: if taken  ->  if True",
        "fees.order_fee: not rate or share_micros <= 0 or (not 0 < notional_micros < share_micros)  ->  "
        "share_micros <= 0 or not 0 < notional_micros < share_micros",
        "fees.order_fee: if exponent == 1  ->  if False",
        "fees.fee_at_price: not rate or not 0 < price_micros < MICROS or notional_micros <= 0  ->  "
        "not 0 < price_micros < MICROS or notional_micros <= 0",
        "fees.fee_at_price: if exponent == 1  ->  if False",
        "fees.share_fee: not fee_micros or not total  ->  not total",
    ),
    "nothing was ever taken of no book, nor of no token": (
        "portfolio.PortfolioState.view: if book_hash  ->  if True",
        "portfolio.PortfolioState.view: book_hash or ''  ->  book_hash",
        "portfolio.PortfolioState.view: group.asset_id or ''  ->  group.asset_id",
    ),
    "where the search for an affordable amount starts, halves and stops: a micro is no other number of lots": (
        "decide._affordable: target - 1  ->  target + 1",
        "decide._affordable: target - 1  ->  target - __shift__(1, 1)",
        "decide._affordable: target - 1  ->  target - __shift__(1, -1)",
        "decide._affordable: low < high  ->  low < __shift__(high, -1)",
        "decide._affordable: (low + high + 1) // 2  ->  -(-(low + high + 1) // 2)",
        "decide._affordable: low + high + 1  ->  low + high + __shift__(1, 1)",
        "decide._affordable: middle - 1  ->  middle - __shift__(1, 1)",
    ),
    "where the estimate of a fee starts: it is corrected by an exact test either way": (
        "fees._powered: max(0, int(estimate) // FEE_QUANTUM_MICROS)  ->  int(estimate) // FEE_QUANTUM_MICROS",
        "fees._powered: max(0, int(estimate) // FEE_QUANTUM_MICROS)  ->  0",
        "fees._powered: int(estimate) // FEE_QUANTUM_MICROS  ->  -(-int(estimate) // FEE_QUANTUM_MICROS)",
        "fees._powered: FEE_QUANTUM_MICROS  ->  __shift__(FEE_QUANTUM_MICROS, 1)",
        "fees._powered: FEE_QUANTUM_MICROS  ->  __shift__(FEE_QUANTUM_MICROS, -1)",
        "fees._powered: quanta and (not fits(quanta))  ->  not fits(quanta)",
        "fees._powered: quanta and (not fits(quanta))  ->  quanta",
    ),
    "the size phase lets no open pass that is below the minimum": (
        "guardrails.risk: min(target, minimum)  ->  minimum",
    ),
    "a TRADE has a limit, a SPLIT has none": (
        "guardrails.risk: group.kind is GroupKind.TRADE and limit_micros is not None  ->  limit_micros is not None",
        "guardrails.risk: group.kind is GroupKind.TRADE and limit_micros is not None  ->  "
        "group.kind is GroupKind.TRADE",
    ),
    "a price in whole micros times a lot is a multiple of 10,000, never one or two less than a whole micro": (
        "walk._payable: (left + 1) * MICROS - 1  ->  (left + 1) * MICROS - __shift__(1, 1)",
    ),
    "no more than the target is spent, and with nothing left no lot at a tick's price fits": (
        "walk._payable: if left < 0  ->  if False",
        "walk._payable: left < 0  ->  left <= 0",
        "walk._payable: left < 0  ->  left < __shift__(0, 1)",
        "walk._payable: left < 0  ->  left < __shift__(0, -1)",
    ),
    "cutting to what is there what is there already": (
        "walk.walk: lots > available  ->  lots >= available",
        "walk.walk: lots > available  ->  lots > __shift__(available, -1)",
    ),
    "nothing was filled: the decision is a SKIP, which is not partial": (
        "walk._is_full: target <= 0  ->  target < 0",
        "walk._is_full: target <= 0  ->  target <= __shift__(0, 1)",
        "walk._is_full: target <= 0  ->  target <= __shift__(0, -1)",
    ),
    "no notional is above 0 and below shares of 0 or less, and no notional pays no fee": (
        "fees.order_fee: not rate or share_micros <= 0 or (not 0 < notional_micros < share_micros)  ->  "
        "not rate or not 0 < notional_micros < share_micros",
        "fees.order_fee: share_micros <= 0  ->  share_micros < 0",
        "fees.order_fee: share_micros <= 0  ->  share_micros <= __shift__(0, 1)",
        "fees.order_fee: share_micros <= 0  ->  share_micros <= __shift__(0, -1)",
        "fees.fee_at_price: notional_micros <= 0  ->  notional_micros < 0",
        "fees.fee_at_price: notional_micros <= 0  ->  notional_micros <= __shift__(0, -1)",
    ),
}
EQUIVALENT: Final[dict[str, str]] = {name: why for why, names in _WHYS.items() for name in names}
"""Why, by the mutant's name."""
