"""Random decisions: a calm scene, spoiled by some of everything that can spoil one, half of it right at a bound."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from random import Random
from typing import Any, Final, Protocol, TypeVar

from hypothesis import strategies as st

from libs.common.domain.book import Level
from libs.common.domain.config import merge
from libs.common.domain.kinds import GroupKind, Scope, Side
from tests.core import reference_decision as reference
from tests.support.decisions import BUY, CONDITION, NO, NOW, YES, Scene, book

T = TypeVar("T")

ONE: Final = 1_000_000
TEN_THOUSAND: Final = 10_000 * ONE
HUGE: Final = 10**18
NEAR: Final = (-1, 0, 1)
"""One unit to either side of a bound, or right at it."""


class Dice(Protocol):
    """What chance decides: Hypothesis plays it to search, a seeded generator to sweep evenly."""

    def choose(self, options: Sequence[T]) -> T: ...

    def between(self, low: int, high: int) -> int: ...


class Drawn:
    """Dice that Hypothesis throws, and shrinks to the first option and the lowest number."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def choose(self, options: Sequence[T]) -> T:
        return self._draw(st.sampled_from(options))

    def between(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


class Thrown:
    """Dice thrown evenly, the same ones for the same seed."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)  # noqa: S311  nothing secret

    def choose(self, options: Sequence[T]) -> T:
        return self._random.choice(options)

    def between(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


def amount(micros: int) -> Fraction:
    return Fraction(micros, ONE)


def micros(value: Fraction) -> int:
    return ceil(value * ONE)


# Books


def level_size(dice: Dice) -> int:
    kind = dice.choose(["lots", "lots", "dust", "odd", "huge"])
    if kind == "huge":
        return HUGE
    if kind == "dust":
        return dice.between(1, 20_000)
    return dice.between(1, 40_000) * (10_000 if kind == "lots" else 7_919)


def book_sides(dice: Dice, middle: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    """Both sides around `middle`: empty, one-sided, crossed, touching, one tick wide or wider."""
    tick = dice.choose([10_000, 10_000, 1_000, 100, 333, 1])

    def side(sign: int) -> tuple[Level, ...]:
        start = middle + sign * tick * dice.choose([1, 1, 1, 0, 2, -1])
        count = dice.choose([3, 1, 2, 4, 6, 3, 1, 2, 4, 0])
        prices = [start + sign * tick * place for place in range(count)]
        return tuple(Level(price, level_size(dice)) for price in prices if 0 < price < ONE)

    return side(-1), side(1)


# Calm scenes


def calm_scene(dice: Dice) -> Scene:
    """A group that is copied: a deep book around their price, nothing at stake."""
    kind = dice.choose(["BUY", "BUY", "BUY", "SELL", "SELL", "SPLIT", "MERGE"])
    trades = kind in {"BUY", "SELL"}
    middle = dice.choose([dice.between(45, 55), dice.between(2, 98)]) * 10_000
    price = middle + dice.choose([0, 0, 1, 333, -77, 5_000, -5_000])
    shares = dice.between(1, 300_000) * 10_000
    step = dice.choose([1_000, 2_000, 333])
    unit = dice.choose([100_000, 1_000_000, 333_333])
    bids, asks = (
        tuple(Level(middle + sign * step * place, dice.between(1, 400) * unit) for place in range(1, 6))
        for sign in (-1, 1)
    )
    return BUY.with_(
        book=book(bids, asks) if trades or dice.choose([True, False]) else None,
        scope=dice.choose([Scope.EXEC_USER, Scope.EXEC_GLOBAL]),
        kind=GroupKind.TRADE if trades else GroupKind(kind),
        side=Side(kind) if trades else None,
        asset_id=YES if trades else None,
        share_micros=shares,
        notional_micros=max(1, price * shares // ONE + dice.between(-2, 2)),
        held_share_micros=dice.between(1, 40_000) * dice.choose([10_000, 7_919]),
        shadow_held_micros=dice.choose([None, dice.between(1, 6_000 * ONE)]),
        fee_rate=Decimal(dice.choose(["0", "0.07", "0.0625", "0.5"])),
        fee_exponent=Decimal(dice.choose([1, 1, 0, 2])),
    )


# What spoils them

Spoiler = Callable[[Dice, Scene], Scene]
SPOILERS: Final[dict[str, Spoiler]] = {}


def spoils(found: Spoiler) -> Spoiler:
    SPOILERS[found.__name__] = found
    return found


def rules(scene: Scene) -> reference.Config:
    return config_of(scene)


@spoils
def a_switch(dice: Dice, scene: Scene) -> Scene:
    changes: list[dict[str, Any]] = [
        {"engine_paused": True}, {"user_enabled": False}, {"closed": True}, {"resolved": True},
        {"accepting_orders": False}, {"market": None}, {"drawdown_tripped": True}, {"share_micros": 0},
        {"condition_id": "0x" + "c" * 62}, {"asset_ids": (YES, NO, "3")}, {"asset_id": None}, {"side": None},
        {"condition_id": None}, {"book": None}, {"close_time": None},
    ]  # fmt: skip
    change = dice.choose(changes)
    of_a_market = {"closed", "resolved", "accepting_orders", "asset_ids", "close_time"}
    return scene if scene.market is None and change.keys() & of_a_market else scene.with_(**change)


@spoils
def a_blacklist(dice: Dice, scene: Scene) -> Scene:
    return scene.with_(market_blacklist=[dice.choose([CONDITION, YES, NO, "other"])])


@spoils
def a_mode(dice: Dice, scene: Scene) -> Scene:
    modes = {"below_min": "SKIP", "sell_sizing": "PROPORTIONAL", "cap_policy": "SHRINK"}
    return scene.with_(**{name: mode for name, mode in modes.items() if dice.choose([True, False])})


@spoils
def any_book(dice: Dice, scene: Scene) -> Scene:
    if scene.group.kind is not GroupKind.TRADE:
        return scene
    bids, asks = book_sides(dice, dice.between(45, 55) * 10_000)
    shares = scene.group.share_micros
    return scene.with_(book=book(bids, asks), notional_micros=max(1, shares // 2))


@spoils
def a_setting(dice: Dice, scene: Scene) -> Scene:
    settings: dict[str, list[Any]] = {
        "copy_pct": ["0.5", "2.5", "100", "33.333333333"],
        "below_min": ["SKIP"],
        "sell_sizing": ["PROPORTIONAL"],
        "cap_policy": ["SHRINK"],
        "depth_multiple": ["0.5", "0", "3", "1.1"],
        "min_trade_notional_micros": [500_000, 0, 20 * ONE],
        "max_trade_notional_micros": [6 * ONE, 10**15],
        "max_trade_equity_pct": ["0.06", "100", "0.05"],
        "min_marketable_micros": [7 * ONE, 0],
        "max_spread_micros": [10_000, 100_000, 0, ONE],
        "max_worse_than_their_price_micros": [0, 50_000, ONE],
        "max_chase_mid_micros": [5_000, 50_000, 0],
        "user_max_trade_notional_micros": [8 * ONE, 2 * ONE],
        "daily_loss_limit_pct": ["0", "0.333"],
        "weekly_loss_limit_pct": ["0", "5"],
        "max_drawdown_limit_pct": ["0", "7.77"],
        "max_total_exposure_pct": ["0.04", "1"],
        "max_exposure_per_market_pct": ["0.07", "100"],
        "max_exposure_per_user_pct": ["0.08", "1"],
        "min_time_to_close_seconds": [0, 60],
        "max_event_age_seconds": [4, 3, 10**6],
    }
    names = {dice.choose(sorted(settings)) for _ in range(dice.between(1, 4))}
    return scene.with_(**{name: dice.choose(settings[name]) for name in sorted(names)})


@spoils
def shrinking(dice: Dice, scene: Scene) -> Scene:
    cap, exposure = dice.choose([("total_pct", "total"), ("market_pct", "market"), ("user_pct", "user")])
    room = reference.percent(getattr(rules(scene), cap), amount(scene.view.equity_micros))
    left = dice.choose([5 * ONE, ONE, 7 * ONE, 0]) + dice.choose(NEAR)
    return scene.with_(cap_policy="SHRINK", **{f"exposure_{exposure}_micros": max(0, floor(room * ONE) - left)})


@spoils
def the_end_nears(dice: Dice, scene: Scene) -> Scene:
    left = dice.choose([Fraction(0), rules(scene).close_guard_s])
    close = NOW + timedelta(seconds=int(left), microseconds=dice.choose(NEAR))
    return scene if scene.market is None else scene.with_(close_time=close)


@spoils
def the_group_ages(dice: Dice, scene: Scene) -> Scene:
    return scene.with_(
        first_event_time=NOW - timedelta(seconds=int(rules(scene).stale_s), microseconds=dice.choose(NEAR))
    )


@spoils
def a_loss(dice: Dice, scene: Scene) -> Scene:
    name, limit = dice.choose([("day", "daily_pct"), ("week", "weekly_pct"), ("peak", "drawdown_pct")])
    since = dice.choose([TEN_THOUSAND, TEN_THOUSAND + 33, 123_456_789, ONE * 700])
    kept = since - reference.percent(getattr(rules(scene), limit), Fraction(since))
    equity = ceil(kept) + dice.choose(NEAR)
    scene = scene.with_(equity_micros=equity, day_start_equity_micros=None, week_start_equity_micros=None,
                        peak_equity_micros=equity)  # fmt: skip
    if name == "peak":
        return scene.with_(peak_equity_micros=since)
    flows = dice.choose([0, 0, 500 * ONE, -500 * ONE])
    return scene.with_(**{f"{name}_start_equity_micros": since - flows, f"{name}_flows_micros": flows})


@spoils
def any_portfolio(dice: Dice, scene: Scene) -> Scene:
    equity = dice.choose([dice.between(600 * ONE, 800 * ONE), dice.between(0, 20_000 * ONE), -5])
    starts = [None, equity, dice.between(-ONE, 25_000 * ONE)]
    return scene.with_(
        equity_micros=equity,
        cash_micros=dice.between(0, max(0, equity)),
        exposure_total_micros=dice.between(0, max(0, equity)),
        day_start_equity_micros=dice.choose(starts),
        week_start_equity_micros=dice.choose(starts),
        peak_equity_micros=max(equity, dice.choose([0, 11_000 * ONE])),
    )


@spoils
def a_small_copy(dice: Dice, scene: Scene) -> Scene:
    config = rules(scene)
    smallest = dice.choose([config.min_trade, config.min_marketable, Fraction(0)]) * ONE
    theirs = max(1, ceil((smallest + dice.choose(NEAR)) * 100 / config.copy_pct))
    half = dice.choose([2, 3])
    if smallest == config.min_marketable * ONE:
        scene = scene.with_(min_trade_notional_micros=0)
    return scene.with_(notional_micros=theirs, share_micros=theirs * half if scene.group.side else theirs)


@spoils
def a_small_maximum(dice: Dice, scene: Scene) -> Scene:
    smallest = micros(rules(scene).min_trade)
    return scene.with_(user_max_trade_notional_micros=smallest + dice.choose(NEAR)) if smallest else scene


@spoils
def a_large_copy(dice: Dice, scene: Scene) -> Scene:
    equity = dice.choose([TEN_THOUSAND, 100_000 * ONE])
    if scene.book is not None:
        bids, asks = (
            tuple(Level(level.price_micros, min(HUGE, level.share_micros * 1000)) for level in side)
            for side in (scene.book.bids, scene.book.asks)
        )
        scene = scene.with_(book=book(bids, asks))
    return scene.with_(
        notional_micros=scene.group.notional_micros * 10**4, share_micros=scene.group.share_micros * 10**4,
        equity_micros=equity, peak_equity_micros=equity, cash_micros=equity, max_exposure_per_market_pct=100,
        held_share_micros=HUGE,
    )  # fmt: skip


@spoils
def a_small_position(dice: Dice, scene: Scene) -> Scene:
    return scene.with_(held_share_micros=dice.choose([0, 1, 9_999, 10_000, 10_001, 20_000, 333_333]))


@spoils
def a_cap(dice: Dice, scene: Scene) -> Scene:
    cap, exposure = dice.choose([("total_pct", "total"), ("market_pct", "market"), ("user_pct", "user")])
    config = rules(scene)
    room = floor(reference.percent(getattr(config, cap), amount(scene.view.equity_micros)) * ONE)
    used = room - micros(target_of(scene)) + dice.choose(NEAR)
    return scene.with_(**{f"exposure_{exposure}_micros": max(0, used)})


@spoils
def scarce_cash(dice: Dice, scene: Scene) -> Scene:
    """Just enough for target and fee at the limit, or just enough for what the walk really costs."""
    case, config = case_of(scene), config_of(scene)
    if not reference.is_supported(case):
        return scene
    target, quote = target_of(scene), reference.Quote(case, config)
    needed = target
    if case.trades and quote.limit is not None and quote.limit > 0:
        needed += reference.fee_of(case, target, target / quote.limit)
        if case.side == "BUY" and dice.choose([True, False]):
            _, _, _, notional, fee = reference.ordered(case, quote, target, None)
            needed = max(needed, notional + fee)
    return scene.with_(cash_micros=max(0, micros(needed) + dice.choose(NEAR)))


@spoils
def a_wide_book(dice: Dice, scene: Scene) -> Scene:
    """One level a side, apart by the spread allowed or so."""
    return quoted(scene, 480_000, 480_000 + micros(rules(scene).spread) + dice.choose(NEAR), level_size(dice))


@spoils
def a_worse_price(dice: Dice, scene: Scene) -> Scene:
    """The best price is at the bound by their average, which is 0.50, 1/3 or 2/3."""
    parts, of = dice.choose([(1, 2), (1, 3), (2, 3)])
    shares = dice.between(100, 3000) * ONE * of
    buying = scene.group.side is Side.BUY
    best = floor(Fraction(parts * ONE, of) + (1 if buying else -1) * rules(scene).worse * ONE) + dice.choose(NEAR)
    scene = scene.with_(share_micros=shares, notional_micros=shares * parts // of)
    return quoted(scene, best - 5_000 if buying else best, best if buying else best + 5_000, level_size(dice))


@spoils
def a_chased_mid(dice: Dice, scene: Scene) -> Scene:
    """The other side is so far that the mid is at its bound, the spread allowed."""
    chase = micros(rules(scene).chase)
    scene = scene.with_(max_spread_micros=ONE)
    if scene.group.side is Side.BUY:
        return quoted(scene, 500_000 - 2 * chase + dice.choose(NEAR), 500_000, level_size(dice))
    return quoted(scene, 500_000, 500_000 + 2 * chase + dice.choose(NEAR), level_size(dice))


@spoils
def a_thin_book(dice: Dice, scene: Scene) -> Scene:
    """One level at their price, as deep as asked for or so."""
    price = 500_000
    wanted = rules(scene).depth_multiple * target_of(scene)
    size = max(1, ceil(wanted * ONE) * ONE // price + 2 * dice.choose(NEAR))
    shares = dice.between(100, 3000) * ONE
    scene = scene.with_(share_micros=shares, notional_micros=shares // 2)
    found = quoted(scene, price, price, size)
    if found.book is None:
        return found
    away = Level(price + 5_000, HUGE) if scene.group.side is Side.SELL else Level(price - 5_000, HUGE)
    bids, asks = found.book.bids, found.book.asks
    return found.with_(book=book(bids, (away,)) if scene.group.side is Side.SELL else book((away,), asks))


@spoils
def an_exact_fill(dice: Dice, scene: Scene) -> Scene:
    """One level, as deep as the target or a lot more or less, with nothing asked of its depth."""
    lots = ceil(target_of(scene) * 2 / reference.LOT) + dice.choose(NEAR)
    return a_thin_book(dice, scene.with_(depth_multiple=0)) if lots < 1 else quoted(
        scene.with_(depth_multiple=0), 495_000, 500_000, lots * 10_000
    )  # fmt: skip


@spoils
def own_consumption(dice: Dice, scene: Scene) -> Scene:
    """Some of the levels was taken before: a part, but for a lot or so, all of it, more than there is."""
    if scene.book is None:
        return scene
    side = scene.book.asks if scene.group.side is Side.BUY else scene.book.bids
    taken = {123_456: 10_000}
    for level in side[: dice.between(1, 6)]:
        parts = [level.share_micros // 2, level.share_micros - 10_000 + dice.choose(NEAR), level.share_micros, 5 * ONE]
        taken[level.price_micros] = max(1, dice.choose(parts))
    return scene.with_(taken=tuple(sorted(taken.items())))


def quoted(scene: Scene, bid: int, ask: int, size: int) -> Scene:
    if scene.group.kind is not GroupKind.TRADE or not 0 < bid < ONE or not 0 < ask < ONE:
        return scene
    return scene.with_(book=book((Level(bid, size),), (Level(ask, size),)))


def target_of(scene: Scene) -> Fraction:
    """Return the target before any cap."""
    case = case_of(scene)
    return reference.sized(case, config_of(scene))[0] if reference.is_supported(case) else Fraction(0)


def scene_of(dice: Dice, first: str | None = None) -> Scene:
    """Return a calm scene, spoiled in up to three ways, the first of them given or not."""
    names = [first] if first else []
    names += [dice.choose(list(SPOILERS)) for _ in range(dice.choose([0, 0, 1, 2]))]
    scene = calm_scene(dice)
    for name in names:
        scene = SPOILERS[name](dice, scene)
    return scene


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Scenes for Hypothesis."""
    dice = Drawn(draw)
    return scene_of(dice, dice.choose(list(SPOILERS)))


@st.composite
def plays(draw: st.DrawFn) -> list[Scene]:
    """Two to five groups of one token, on one version of its book or on two, in one portfolio of 200 USDC."""
    dice = Drawn(draw)
    unlimited = (
        "max_exposure_per_market_pct", "max_total_exposure_pct", "max_exposure_per_user_pct", "max_trade_equity_pct",
        "daily_loss_limit_pct", "weekly_loss_limit_pct", "max_drawdown_limit_pct",
    )  # fmt: skip
    config: dict[str, Any] = {**dict.fromkeys(unlimited, 100), "copy_pct": 10, "depth_multiple": 0}
    first = replace(calm_scene(dice), config=config)
    found = []
    for _ in range(dice.between(2, 5)):
        sides = first.book or BUY.book
        price = dice.choose(sides.asks if sides else ()).price_micros
        shares = dice.between(1, 500_000) * 10_000
        found.append(
            first.with_(
                kind=GroupKind.TRADE, side=dice.choose([Side.BUY, Side.BUY, Side.SELL]), asset_id=YES,
                share_micros=shares, notional_micros=price * shares // ONE,
                book=sides and book(sides.bids, sides.asks, dice.choose(["h1", "h1", "h2"])),
            )
        )  # fmt: skip
    return found


# The same for the reference


def case_of(scene: Scene) -> reference.Case:
    group, view, market, given = scene.group, scene.view, scene.market, scene.book
    case = reference.Case(
        scope=str(scene.clock.scope),
        kind=str(group.kind),
        side=group.side and str(group.side),
        has_asset=group.asset_id is not None,
        condition=group.condition_id,
        their_notional=amount(group.notional_micros),
        their_shares=amount(group.share_micros),
        age_s=Fraction((NOW - group.first_event_time) // timedelta(microseconds=1), ONE),
        paused=scene.clock.engine_paused,
        user_enabled=scene.clock.user_enabled,
        market_known=market is not None,
        market_names=frozenset(name for name in (group.condition_id, group.asset_id) if name is not None),
        has_book=given is not None,
        cash=amount(view.cash_micros),
        equity=amount(view.equity_micros),
        exposure_total=amount(view.exposure_total_micros),
        exposure_market=amount(view.exposure_market_micros),
        exposure_user=amount(view.exposure_user_micros),
        held=amount(view.held_share_micros),
        day_start=None if view.day_start_equity_micros is None else amount(view.day_start_equity_micros),
        day_flows=amount(view.day_flows_micros),
        week_start=None if view.week_start_equity_micros is None else amount(view.week_start_equity_micros),
        week_flows=amount(view.week_flows_micros),
        peak=amount(view.peak_equity_micros),
        tripped=view.drawdown_tripped,
        taken={amount(price): amount(shares) for price, shares in view.taken},
        shadow_held=None if view.shadow_held_micros is None else amount(view.shadow_held_micros),
    )
    if given is not None:
        case.bids = [(amount(each.price_micros), amount(each.share_micros)) for each in given.bids]
        case.asks = [(amount(each.price_micros), amount(each.share_micros)) for each in given.asks]
    if market is not None:
        case.closed, case.resolved, case.accepting = market.closed, market.resolved, market.accepting_orders
        case.fee_rate, case.fee_exponent = Fraction(market.fee_rate), int(market.fee_exponent)
        case.market_names = frozenset({market.condition_id, *market.asset_ids})
        case.outcomes = len(market.asset_ids)
        if market.close_time is not None:
            case.seconds_to_close = Fraction((market.close_time - NOW) // timedelta(microseconds=1), ONE)
    return case


NAMES: Final[Mapping[str, str]] = {
    "copy_pct": "copy_pct", "max_trade_equity_pct": "max_of_equity_pct", "below_min": "below_min",
    "sell_sizing": "sell_sizing", "depth_multiple": "depth_multiple", "min_time_to_close_seconds": "close_guard_s",
    "max_event_age_seconds": "stale_s", "daily_loss_limit_pct": "daily_pct", "weekly_loss_limit_pct": "weekly_pct",
    "max_drawdown_limit_pct": "drawdown_pct", "max_total_exposure_pct": "total_pct",
    "max_exposure_per_market_pct": "market_pct", "max_exposure_per_user_pct": "user_pct", "cap_policy": "cap_policy",
    "market_blacklist": "blacklist", "min_trade_notional_micros": "min_trade", "max_trade_notional_micros": "max_trade",
    "user_max_trade_notional_micros": "own_maximum", "min_marketable_micros": "min_marketable",
    "max_worse_than_their_price_micros": "worse", "max_chase_mid_micros": "chase", "max_spread_micros": "spread",
}  # fmt: skip
"""The reference's name of each setting; what is not set stays at the reference's own default."""


def config_of(scene: Scene) -> reference.Config:
    merge(scene.config)  # what the product refuses is no test
    changes: dict[str, Any] = {}
    for name, value in scene.config.items():
        if name == "market_blacklist":
            changes["blacklist"] = frozenset(value)
        elif name.endswith("_micros"):
            changes[NAMES[name]] = None if value is None else amount(value)
        else:
            changes[NAMES[name]] = (
                value if NAMES[name] in {"below_min", "sell_sizing", "cap_policy"} else Fraction(value)
            )
    return replace(reference.Config(), **changes)
