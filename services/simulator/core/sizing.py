"""How much to copy: target notional, clamps, and the shares a reduction may use (SPEC section 5, "Sizing")."""

from typing import NamedTuple

from libs.common.domain.kinds import GroupKind, Side
from libs.common.domain.reasons import Reason
from services.simulator.core.facts import Group, PortfolioView
from services.simulator.core.outcome import Check
from services.simulator.core.rules import Rules


class Size(NamedTuple):
    """The target, and for a SELL the shares it may use; a failed check leaves what would have been tried."""

    target_micros: int
    share_cap_micros: int | None
    checks: tuple[Check, ...]


def size(group: Group, view: PortfolioView, rules: Rules) -> Size:
    """Return the size of our order for `group`."""
    if group.kind is GroupKind.TRADE:
        if group.side is Side.BUY:
            return _buy(group, view, rules)
        return _sell(group, view, rules)
    return _pair(group, view, rules)


def _clamped(group: Group, view: PortfolioView, rules: Rules) -> tuple[int, Check]:
    """Return the clamped target; where no amount satisfies minimum and maximum, what the maximum leaves of it."""
    raw = rules.copy.floor_of(group.notional_micros)
    most = min(rules.max_trade, rules.max_trade_of_equity.floor_of(view.equity_micros))
    if rules.user_max_trade is not None:
        most = min(most, rules.user_max_trade)
    numbers = {"copied": raw, "maximum": most}
    if most < rules.min_trade or (raw < rules.min_trade and not rules.clamps_up):
        return max(0, min(raw, most)), ("size.minimum", False, numbers, rules.min_trade, Reason.BELOW_MIN_NOTIONAL)
    target = min(max(raw, rules.min_trade), most)
    if target <= 0:
        return 0, ("size.minimum", False, numbers, rules.min_trade, Reason.BELOW_MIN_NOTIONAL)
    return target, ("size.minimum", True, numbers, rules.min_trade, None)


def _buy(group: Group, view: PortfolioView, rules: Rules) -> Size:
    target, minimum = _clamped(group, view, rules)
    if target < rules.min_marketable:
        marketable = ("size.marketable", False, target, rules.min_marketable, Reason.BELOW_MIN_NOTIONAL)
        return Size(target, None, (minimum, marketable))
    return Size(target, None, (minimum, ("size.marketable", True, target, rules.min_marketable, None)))


def _sell(group: Group, view: PortfolioView, rules: Rules) -> Size:
    """Cap the target by the worth, at their average price, of the shares held.

    PROPORTIONAL sells the fraction of our position that they sold of theirs, without clamps; a position of theirs that
    is not known, or smaller than what they sold, counts as sold whole.
    """
    held = view.held_share_micros
    checks: list[Check] = []
    if rules.sells_proportionally:
        theirs = max(view.shadow_held_micros or 0, group.share_micros)
        cap = held * group.share_micros // theirs
        target = _worth(cap, group)
        checks.append(("size.proportion", True, group.share_micros, theirs, None))
    else:
        target, minimum = _clamped(group, view, rules)
        checks.append(minimum)
        cap = held
        target = min(target, _worth(cap, group))
    checks.append(("size.position", held > 0, held, 0, None if held > 0 else Reason.NO_POSITION))
    return Size(target, cap, tuple(checks))


def _worth(share_micros: int, group: Group) -> int:
    return share_micros * group.notional_micros // group.share_micros


def _pair(group: Group, view: PortfolioView, rules: Rules) -> Size:
    """SPLIT goes as far as cash allows, MERGE as far as the smaller leg does; neither knows minimum or maximum."""
    copied = rules.copy.floor_of(group.share_micros)
    enough = copied > 0
    minimum: Check = ("size.minimum", enough, {"copied": copied}, 1, None if enough else Reason.BELOW_MIN_NOTIONAL)
    if group.kind is GroupKind.SPLIT:
        return Size(min(copied, view.cash_micros) if view.cash_micros > 0 else copied, None, (minimum,))
    held = view.held_share_micros
    position: Check = ("size.position", held > 0, held, 0, None if held > 0 else Reason.NO_POSITION_TO_MERGE)
    return Size(min(copied, max(0, held)), None, (minimum, position))
