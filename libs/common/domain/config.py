"""Sizing and guardrails: the one schema of every configuration, global or per user, from file, page or tape.

Names are SPEC 5's in lower snake case with their unit; the SPEC's own upper-case names are accepted too. Amounts are
whole micros and percentages are decimal per cent ("0.75" is 0.75 %). What a user's row does not set is inherited from
the global row, and what that does not set from the defaults below; null means the same as left out. Unknown names and
contradictions are refused.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from libs.common.domain.config_problem import ConfigRejected, Problem, problems_of
from libs.common.domain.money import LOT_SHARE_MICROS, MICROS

AMOUNT_MICROS_MAX: Final = 10**15
BLACKLIST_MAX: Final = 10_000
AGGREGATION_WINDOW_MS: Final = 2_000
"""How long a group stays open (SPEC 4); no decision on it can come sooner."""
DEFAULT_WAIT_MS: Final = 1_000
"""Latency and jitter together as they are unless somebody sets them."""
_AMOUNTS: Final = (
    "min_trade_notional_micros",
    "max_trade_notional_micros",
    "user_max_trade_notional_micros",
    "min_marketable_micros",
)
_IDENTIFIER: Final = re.compile(r"0x[0-9a-f]+|[0-9]+")


def _whole(value: object) -> object:
    if isinstance(value, (float, Decimal)):
        exact = Decimal(repr(value)) if isinstance(value, float) else value
        if not exact.is_finite() or exact != exact.to_integral_value():
            raise ValueError(f"expected a whole number, got {value}")
        return int(exact)
    return value


def _amount(value: object) -> object:
    try:
        return _whole(value)
    except ValueError:
        raise ValueError(f"expected whole micros (1 USDC is {MICROS}), got the decimal {value}") from None


def _decimal(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number, got a truth value")  # noqa: TRY004  pydantic reports ValueErrors
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, str):
        try:
            return Decimal(value.strip().removesuffix("%").strip())
        except InvalidOperation:
            raise ValueError(f"expected a number, got {value!r:.40}") from None
    return value


Amount = Annotated[int, BeforeValidator(_amount), Field(ge=0, le=AMOUNT_MICROS_MAX, strict=True)]
Price = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=MICROS, strict=True)]
Duration = Annotated[int, BeforeValidator(_whole), Field(ge=0, strict=True)]
Percent = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=100, max_digits=12, decimal_places=9)]


class CopyConfig(BaseModel):
    """A complete configuration; its defaults are SPEC 5's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # sizing
    copy_pct: Annotated[Percent, Field(gt=0)] = Decimal(1)
    """Share of their notional that we copy."""
    min_trade_notional_micros: Amount = 5 * MICROS
    """Smallest target; smaller ones are clamped up or skipped, see `below_min`."""
    max_trade_notional_micros: Amount = 250 * MICROS
    """Largest target."""
    max_trade_equity_pct: Percent = Decimal("0.75")
    """Largest target as a share of the portfolio's equity."""
    user_max_trade_notional_micros: Amount | None = None
    """The user's own largest target; null: none."""
    min_marketable_micros: Amount = MICROS
    """The exchange takes no marketable BUY below this."""
    below_min: Literal["CLAMP_UP", "SKIP"] = "CLAMP_UP"
    """What becomes of a target below the minimum."""
    sell_sizing: Literal["NOTIONAL", "PROPORTIONAL"] = "NOTIONAL"
    """SELL by their notional, or by the fraction of their position that they sold."""
    decision_latency_ms: Annotated[Duration, Field(le=600_000)] = 750
    """Time between a group's closing and its decision."""
    jitter_ms: Annotated[Duration, Field(le=60_000)] = 250
    """Largest addition to the latency; which part of it, the group's id decides."""

    # guardrails
    max_worse_than_their_price_micros: Price = 10_000
    """How much worse than their average price we may pay or get."""
    max_chase_mid_micros: Price = 15_000
    """How far beyond the book's midpoint we may pay or get."""
    max_spread_micros: Price = 20_000
    """Widest spread we trade on."""
    depth_multiple: Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=1000, decimal_places=9)] = Decimal(
        "1.25"
    )
    """Liquidity within the limit must be this many targets; below 1 it permits partial fills on thin books."""
    min_time_to_close_seconds: Annotated[Duration, Field(le=10**9)] = 1_800
    """Nothing is opened in a market closing sooner."""
    max_event_age_seconds: Annotated[Duration, Field(le=10**9)] = 120
    """Groups older than this at decision are stale."""
    daily_loss_limit_pct: Percent = Decimal(3)
    """Loss since 00:00 UTC beyond which nothing is opened."""
    weekly_loss_limit_pct: Percent = Decimal(8)
    """Loss since Monday 00:00 UTC beyond which nothing is opened."""
    max_drawdown_limit_pct: Percent = Decimal(12)
    """Fall from the peak that stops opening until the admin resets it."""
    max_total_exposure_pct: Percent = Decimal(70)
    """Cap of all positions, in equity."""
    max_exposure_per_market_pct: Percent = Decimal(5)
    """Cap of one market's positions, both outcomes together, in equity."""
    max_exposure_per_user_pct: Percent = Decimal(20)
    """Cap of what one user led us into, in equity; EXEC_GLOBAL only."""
    cap_policy: Literal["SKIP", "SHRINK"] = "SKIP"
    """What becomes of a target beyond a cap: skipped, or shrunk to the headroom."""
    market_blacklist: Annotated[frozenset[Annotated[str, Field(max_length=80)]], Field(max_length=BLACKLIST_MAX)] = (
        frozenset()
    )
    """Condition ids in which nothing is opened."""


SIZING_FIELDS: Final = frozenset(tuple(CopyConfig.model_fields)[:10])
"""Names kept in CopySizingConfig; all others are kept in GuardrailConfig."""
GUARDRAIL_FIELDS: Final = frozenset(CopyConfig.model_fields) - SIZING_FIELDS

_ALIASES: Final = {
    "copy_pct_notional": "copy_pct",
    "min_trade_notional": "min_trade_notional_micros",
    "max_trade_notional": "max_trade_notional_micros",
    "user_max_trade_notional": "user_max_trade_notional_micros",
    "max_trade_equity": "max_trade_equity_pct",
    "min_marketable": "min_marketable_micros",
    "spread": "max_spread_micros",
    "max_spread": "max_spread_micros",
    "worse_than_their_price": "max_worse_than_their_price_micros",
    "chasing_mid": "max_chase_mid_micros",
    "daily_loss": "daily_loss_limit_pct",
    "daily_loss_limit": "daily_loss_limit_pct",
    "daily_loss_pct": "daily_loss_limit_pct",
    "weekly_loss": "weekly_loss_limit_pct",
    "weekly_loss_limit": "weekly_loss_limit_pct",
    "weekly_loss_pct": "weekly_loss_limit_pct",
    "drawdown": "max_drawdown_limit_pct",
    "max_drawdown": "max_drawdown_limit_pct",
    "max_drawdown_limit": "max_drawdown_limit_pct",
    "drawdown_pct": "max_drawdown_limit_pct",
    "max_drawdown_pct": "max_drawdown_limit_pct",
    "max_total_exposure": "max_total_exposure_pct",
    "max_exposure_per_market": "max_exposure_per_market_pct",
    "max_exposure_per_user": "max_exposure_per_user_pct",
    "blacklist": "market_blacklist",
}


def canonical(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return `values` under this schema's own names.

    `{"sizing": {...}, "guardrails": {...}}` is flattened. Raises ConfigRejected for unknown and repeated names.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key.lower() in {"sizing", "guardrails"} and isinstance(value, Mapping):
            inner = canonical(value, where)
        else:
            name = _ALIASES.get(key.lower(), key.lower())
            if name not in CopyConfig.model_fields:
                text = f"unknown setting; expected one of {', '.join(CopyConfig.model_fields)}"
                raise ConfigRejected(where, [Problem(key, text)])
            inner = {name: value}
        for name, each in inner.items():
            if name in found:
                raise ConfigRejected(where, [Problem(name, "is set twice")])
            found[name] = each
    return found


def merge(*layers: Mapping[str, Any], where: str = "config") -> CopyConfig:
    """Return the configuration that `layers` (later ones win) give over the defaults; null inherits.

    Raises ConfigRejected when a value is out of its range; see `config_rules` for what contradicts.
    """
    combined: dict[str, Any] = {}
    for layer in layers:
        combined.update({name: value for name, value in canonical(layer, where).items() if value is not None})
    try:
        return CopyConfig.model_validate(combined)
    except ValidationError as error:
        raise ConfigRejected(where, problems_of(error)) from None


def overrides(
    values: Mapping[str, Any],
    *,
    over: Mapping[str, Any] | None = None,
    where: str = "config",
    is_part: bool = False,
) -> dict[str, Any]:
    """Return `values` validated (over the layer `over`) and JSON-able, holding only what was set; null stays null.

    `is_part` tells that rows nobody showed us may set what these layers do not; contradictions with defaults pass then.
    """
    named = canonical(values, where)
    config = merge(over or {}, named, where=where)
    own = {name for name, value in named.items() if value is not None}
    known = {*own, *(name for name, value in (over or {}).items() if value is not None)}
    problems = contradictions(config, own, known if is_part else None)
    if problems:
        raise ConfigRejected(where, problems)
    shown = document(config)
    if named.get("market_blacklist") is not None:
        shown["market_blacklist"] = _identifiers(shown["market_blacklist"], where)
    return {name: None if value is None else shown[name] for name, value in named.items()}


def _identifiers(names: Iterable[str], where: str) -> list[str]:
    """Return ids as the exchange writes them; what is neither a condition nor a token would never stop anything."""
    found = sorted({name.strip().lower() for name in names})
    for name in found:
        if not _IDENTIFIER.fullmatch(name):
            text = f"expected condition ids (0x and hex digits) or token ids (digits), got {name!r}"
            raise ConfigRejected(where, [Problem("market_blacklist", text)])
    return found


def document(config: CopyConfig) -> dict[str, Any]:
    """Return a configuration as a JSON document: decimals as text, sets as sorted lists."""
    found = config.model_dump(mode="json")
    found["market_blacklist"] = sorted(config.market_blacklist)
    return found


def youngest_decision_ms(config: CopyConfig) -> int:
    """Return the longest time from a group's first fill to its decision when nothing is late, in milliseconds."""
    return AGGREGATION_WINDOW_MS + config.decision_latency_ms + config.jitter_ms


def contradictions(config: CopyConfig, own: Collection[str], known: Collection[str] | None = None) -> list[Problem]:
    """Return what contradicts in a merged configuration; `own` names what the row that is judged sets.

    With `known` only what those settings alone contradict. A maximum below a minimum that the row does not set is no
    contradiction: SPEC 5 gives it a meaning, nothing is copied (BELOW_MIN_NOTIONAL); `remarks` tells of it.
    Nor are loss limits in any order: whichever is met first stops. Waiting longer than a group may age is one.
    """
    found: list[tuple[str, str, str]] = []
    least, most = "min_trade_notional_micros", "max_trade_notional_micros"
    bounds = config.min_trade_notional_micros, config.max_trade_notional_micros
    if bounds[1] < bounds[0] and {least, most} <= set(own):
        text = f"expected at least {least} ({bounds[0]}), got {bounds[1]}: no order could ever be made"
        found.append((most, least, text))
    youngest_ms = youngest_decision_ms(config)
    is_slow = config.decision_latency_ms + config.jitter_ms > DEFAULT_WAIT_MS
    if is_slow and youngest_ms > config.max_event_age_seconds * 1000:
        text = (
            f"expected at least {-(-youngest_ms // 1000)}, got {config.max_event_age_seconds}: a decision comes up to "
            f"{youngest_ms} ms after the first fill (window {AGGREGATION_WINDOW_MS} + decision_latency_ms "
            f"{config.decision_latency_ms} + jitter_ms {config.jitter_ms}), so every group could be stale"
        )
        found.append(("max_event_age_seconds", "decision_latency_ms", text))
    return [Problem(name, text) for name, other, text in found if known is None or {name, other} <= set(known)]


def remarks(config: CopyConfig) -> list[str]:
    """Return what is allowed but probably not meant, in sentences."""
    found = [
        f"{name} is {value} micros, less than a cent; {value} USDC would be {value * MICROS}"
        for name in _AMOUNTS
        if (value := getattr(config, name)) is not None and 0 < value < LOT_SHARE_MICROS
    ]
    for name in ("max_trade_notional_micros", "user_max_trade_notional_micros"):
        value = getattr(config, name)
        if value is not None and value < config.min_trade_notional_micros:
            least = config.min_trade_notional_micros
            found.append(f"{name} ({value}) is below min_trade_notional_micros ({least}): nothing is copied")
        if value is not None and value < config.min_marketable_micros:
            least = config.min_marketable_micros
            found.append(f"{name} ({value}) is below min_marketable_micros ({least}): no BUY is ever made")
    if youngest_decision_ms(config) > config.max_event_age_seconds * 1000:
        found.append(
            f"max_event_age_seconds ({config.max_event_age_seconds}) is below the {youngest_decision_ms(config)} ms "
            "that may pass between the first fill and a decision: every group could be stale"
        )
    return found
