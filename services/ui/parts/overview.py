"""The overview's blocks, each one piece of markup, by name."""

from datetime import datetime
from typing import Final

from services.ui.parts import answers, tables
from services.ui.parts.figures import ago, clock, usd
from services.ui.parts.html import banner, empty, panel_head
from services.ui.parts.icons import icon
from services.ui.parts.shell import status_bar
from services.ui.queries.board import Seen
from services.ui.queries.curve import RANGES, Curve, Range
from services.ui.queries.overview import Overview

SPARK_POINTS: Final = 96


def banner_block(seen: Seen[Overview], now: datetime) -> str:
    """Return the page's one banner: the worst thing to know, or nothing."""
    facts = seen.value.facts
    if seen.error is not None:
        text = "Showing the last figures we have; this page heals by itself when it is back."
        return banner(icon("warn"), "The database does not answer.", text, "bad", ago(seen.taken_at, now))
    verdict = facts.verdict
    if verdict.is_stale and facts.health.marked_at is not None:
        age = ago(facts.health.marked_at, now, "")
        strong = f"{verdict.problem[0].upper()}{verdict.problem[1:]}."
        return banner(icon("warn"), strong, verdict.effect, right=f"<span>figures are {age} old</span>")
    if verdict.problem:
        strong = f"{verdict.problem[0].upper()}{verdict.problem[1:]}."
        return banner(icon("warn"), strong, verdict.effect, "bad" if verdict.kind == "bad" else "")
    if facts.control.paused:
        since = f"<span>since {clock(facts.control.since)}</span>" if facts.control.since else ""
        text = "Their trades are still seen; every one is skipped until you resume."
        return banner(icon("pause"), "Copying is paused.", text, right=since)
    if facts.figures is None:
        return banner(icon("clock"), "Watching.", "First figures in about a minute.", "calm")
    return ""


def status_block(seen: Seen[Overview], now: datetime) -> str:
    """Return the top bar's pill and button."""
    facts = seen.value.facts
    if seen.error is not None:
        return status_bar(facts.control, "bad", "Disconnected", seen.taken_at, now)
    figures_at = facts.health.marked_at if facts.holdings else facts.taken_at
    kind, word = {"bad": ("bad", "Trouble"), "warn": ("warn", "Attention")}.get(facts.verdict.kind, ("ok", "Live"))
    if facts.verdict.is_stale:
        kind, word = "warn", "Stale"
    if not facts.health.wallets:
        kind, word, figures_at = "", "Idle", None
    return status_bar(facts.control, kind, word, figures_at, now)


def equity_head(seen: Seen[Overview], curve: Curve | None, shadow_name: str) -> str:
    """Return the head of the equity panel: legend with values, and the windows as links."""
    figures = seen.value.facts.figures
    if figures is None or curve is None:
        return "<h2>Global equity</h2>"
    shadows = (
        f'<span><i class="sb-sw" style="--c:var(--shadow-c)"></i>{shadow_name} '
        f"<b>{usd(curve.shadows[-1].equity_micros)}</b></span>"
        if curve.shadows
        else ""
    )
    return (
        '<h2>Global equity</h2><div class="sb-leg"><span><i class="sb-sw" style="--c:var(--global)"></i>Global '
        f"<b>{usd(figures.equity_micros)}</b></span>{shadows}</div>"
        f'<span class="sb-sp"></span>{_ranges(curve.range)}'
    )


def _ranges(current: Range) -> str:
    links = "".join(
        f'<a href="?range={name}"{" aria-current=true" if name == current else ""}>{name}</a>' for name in RANGES
    )
    return f'<nav class="sb-seg" aria-label="Time range">{links}</nav>'


def equity_label(curve: Curve) -> str:
    """Return the chart as a sentence, for those who do not see it."""
    first, last = curve.points[0].equity_micros, curve.points[-1].equity_micros
    return f"Global equity, {curve.range}: from {usd(first)} to {usd(last)}, drawdown below"


def today_curve(curve: Curve | None, now: datetime) -> tuple[int, ...]:
    """Return the PnL since 00:00 UTC, from its start at zero, thinned for a small curve."""
    if curve is None:
        return ()
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    before = [point.pnl_micros for point in curve.points if point.at <= start]
    values = [before[-1] if before else 0, *(point.pnl_micros for point in curve.points if point.at > start)]
    step = max(1, len(values) // SPARK_POINTS)
    thinned = [*values[:-1:step], values[-1]]
    return tuple(value - values[0] for value in thinned)


def blocks(seen: Seen[Overview], today: tuple[int, ...], now: datetime) -> dict[str, str]:
    """Return the markup of every block but the chart, by name."""
    overview = seen.value
    facts, slow = overview.facts, overview.slow
    limits = (
        answers.limits(facts)
        if facts.limits
        else empty(icon("empty"), "No limit in use", "Limits count once the paper portfolio is open.")
    )
    exposed = f'<span class="sb-sub">exposure {usd(facts.figures.exposure_micros)}</span>' if facts.figures else ""
    return {
        "banner": banner_block(seen, now),
        "money": answers.money(overview, today),
        "why": answers.why(facts, slow.reasons),
        "working": answers.working(facts.verdict, now, seen.error),
        "limits": panel_head("Risk limits in use", right=exposed) + limits,
        "users": panel_head("Top users", "copied alone, since followed") + tables.users(overview.top_people),
        "markets": panel_head("Top markets", "largest first") + tables.markets(facts, now),
        "decisions": panel_head("Latest decisions", "global portfolio") + tables.decisions(facts.latest, now),
        "programs": panel_head("Programs", "each on its own") + answers.programs(facts, now),
        "skips": panel_head("Why we skipped", f"{slow.reasons.days} days") + tables.skips(slow.reasons),
    }


def first_run() -> str:
    """Return the page of somebody who follows nobody yet."""
    command = "shadowbook follow https://polymarket.com/profile/0x..."
    return (
        '<div class="sb-first"><h2>Follow your first wallet</h2>'
        '<p class="sb-sec">Type this in a terminal, with a wallet '
        "address or a Polymarket profile URL. Their next trades are copied on paper from then on; nothing is bought."
        f'</p><div class="sb-cmd"><code>{command}</code>'
        '<button class="sb-ibtn" data-act="copy" data-text="shadowbook follow " '
        f'aria-label="Copy the command" data-tip="Copy">{icon("copy", "sb-i14")}</button></div>'
        '<ol class="sb-steps"><li><b>Watching</b> Each of their trades is seen within seconds.</li>'
        "<li><b>Deciding</b> It is sized, checked against your limits and filled against the order book of that moment."
        "</li><li><b>Answering</b> First figures are here in about a minute, and this page turns by itself.</li>"
        "</ol></div>"
    )
