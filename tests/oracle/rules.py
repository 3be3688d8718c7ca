"""The numbers a decision was made under: SPEC 5's defaults, replaced by what the named config version says."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.oracle.run import Run, Violation
from tests.oracle.tape import Tape

USDC = 1_000_000


@dataclass(frozen=True)
class Rules:
    """One effective configuration; names are the oracle's own, fractions exact."""

    copy_pct: Fraction = Fraction(1, 100)
    min_trade_notional: int = 5 * USDC
    max_trade_notional: int = 250 * USDC
    user_max_trade_notional: int = 10**18
    max_trade_of_equity: Fraction = Fraction(75, 10_000)
    below_min: str = "CLAMP_UP"
    sell_sizing: str = "NOTIONAL"
    min_marketable: int = USDC
    price_worse_than_theirs: int = 10_000
    price_beyond_mid: int = 15_000
    spread: int = 20_000
    depth_multiple: Fraction = Fraction(5, 4)
    close_guard_microseconds: int = 30 * 60 * 1_000_000
    stale_microseconds: int = 120 * 1_000_000
    daily_loss: Fraction = Fraction(3, 100)
    weekly_loss: Fraction = Fraction(8, 100)
    drawdown: Fraction = Fraction(12, 100)
    cap_total: Fraction = Fraction(70, 100)
    cap_market: Fraction = Fraction(5, 100)
    cap_user: Fraction = Fraction(20, 100)
    cap_policy: str = "SKIP"
    decision_latency_microseconds: int = 750_000
    jitter_microseconds: int = 250_000
    blacklist: tuple[str, ...] = ()


_WHOLE, _PER_CENT = Fraction(1), Fraction(1, 100)
RENAMED: dict[str, tuple[str, Fraction]] = {
    "copy_pct": ("copy_pct", _PER_CENT),
    "min_trade_notional_micros": ("min_trade_notional", _WHOLE),
    "max_trade_notional_micros": ("max_trade_notional", _WHOLE),
    "max_trade_equity_pct": ("max_trade_of_equity", _PER_CENT),
    "user_max_trade_notional_micros": ("user_max_trade_notional", _WHOLE),
    "min_marketable_micros": ("min_marketable", _WHOLE),
    "decision_latency_ms": ("decision_latency_microseconds", Fraction(1_000)),
    "jitter_ms": ("jitter_microseconds", Fraction(1_000)),
    "max_worse_than_their_price_micros": ("price_worse_than_theirs", _WHOLE),
    "max_chase_mid_micros": ("price_beyond_mid", _WHOLE),
    "max_spread_micros": ("spread", _WHOLE),
    "depth_multiple": ("depth_multiple", _WHOLE),
    "min_time_to_close_seconds": ("close_guard_microseconds", Fraction(10**6)),
    "max_event_age_seconds": ("stale_microseconds", Fraction(10**6)),
    "daily_loss_limit_pct": ("daily_loss", _PER_CENT),
    "weekly_loss_limit_pct": ("weekly_loss", _PER_CENT),
    "max_drawdown_limit_pct": ("drawdown", _PER_CENT),
    "max_total_exposure_pct": ("cap_total", _PER_CENT),
    "max_exposure_per_market_pct": ("cap_market", _PER_CENT),
    "max_exposure_per_user_pct": ("cap_user", _PER_CENT),
}
"""Exported setting -> (our name, factor to our unit). A setting that is absent keeps SPEC's default."""


def rules_from(values: dict[str, Any]) -> Rules:
    """Return the rules an exported config version states."""
    stated: dict[str, Any] = {
        name: values[name] for name in ("below_min", "sell_sizing", "cap_policy") if name in values
    }
    exact = {each.name for each in fields(Rules) if isinstance(each.default, Fraction)}
    for key, (name, factor) in RENAMED.items():
        if values.get(key) is not None:
            amount = Fraction(Decimal(str(values[key]))) * factor
            stated[name] = amount if name in exact else int(amount)
    return replace(Rules(), **stated, blacklist=tuple(values.get("market_blacklist") or ()))


def rules_by_version(run: Run) -> dict[int, Rules]:
    """Return the rules of every exported config version."""
    return {int(row["version"]): rules_from(row["values"]) for row in run["config"]}


NOTICE_MICROSECONDS = 2_000_000
"""Within this time a change is in force."""


def check_versions(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Each attempt names the newest version of its user's configuration, or of the global one: none too new or old."""
    versions = {int(row["version"]): row for row in run["config"]}
    own = {row["user_label"] for row in run["config"] if row["user_label"]}
    for attempt in run["attempts"]:
        named = versions.get(attempt["config_version"])
        subject = f"attempt {attempt['id']}"
        if named is None:
            yield Violation("config", subject, f"names version {attempt['config_version']}, which does not exist")
            continue
        label = attempt["user_label"] if attempt["user_label"] in own else None
        if named["user_label"] not in {label, None}:
            yield Violation("config", subject, f"decided under the configuration of {named['user_label']}")
        if named["effective_at"] > attempt["decided_at"] + NOTICE_MICROSECONDS:
            yield Violation("config", subject, "decided under a configuration of later")
        newer = [
            row["version"]
            for row in run["config"]
            if row["user_label"] == label
            and int(row["version"]) > int(named["version"])
            and row["effective_at"] < attempt["decided_at"] - NOTICE_MICROSECONDS
        ]
        if newer:
            yield Violation("config", subject, f"decided under version {named['version']}, {newer} was in force")


def check_tape_config(tape: Tape, run: Run) -> Iterator[Violation]:
    """Whoever has a version of their own, and everybody else, has what the tape's `config` says over the defaults."""
    stated = {key: value for key, value in tape.config.items() if key in {"global", "users"}}
    if not stated or not run["config"]:
        return
    shared, users = stated.get("global") or {}, stated.get("users") or {}
    newest = {row["user_label"]: row for row in sorted(run["config"], key=lambda row: int(row["version"]))}
    for label in {None, *users}:
        wanted = rules_from({**shared, **users.get(label or "", {})})
        if label not in newest:
            yield Violation("config", f"user {label}", "has no version, yet the tape's config overrides something")
        elif _sorted(rules_from(newest[label]["values"])) != _sorted(wanted):
            yield Violation("config", f"version {newest[label]['version']} of {label}", f"is not {wanted}")


def _sorted(rules: Rules) -> Rules:
    return replace(rules, blacklist=tuple(sorted(rules.blacklist)))


CHECKS = (check_versions, check_tape_config)
