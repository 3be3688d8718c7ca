"""The overview's tables: users, markets, decisions, skip reasons."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.ui.parts.figures import DASH, ago, cents, percent, pnl, usd
from services.ui.parts.html import empty, esc, hint
from services.ui.parts.icons import icon
from services.ui.parts.words import reason
from services.ui.queries.decisions import DecisionRow, Reasons
from services.ui.queries.overview import TOP, Facts
from services.ui.queries.people import Person

SPARK_WIDTH: Final = 84
SPARK_HEIGHT: Final = 24
WHOLE: Final = Decimal("0.99")
"""From this part of its target on, a copy is whole: lots of 0.01 share cannot hit a target exactly."""
SIDES: Final = {"BUY": ("b", "up", "Buy"), "SELL": ("s", "down", "Sell")}
KINDS: Final = {"SPLIT": "Split", "MERGE": "Merge"}


def avatar(user: UUID) -> str:
    """Return a user's colour tile."""
    hue = user.int % 360
    return f'<i class="sb-av" style="--c1:oklch(.72 .09 {hue});--c2:oklch(.58 .11 {(hue + 50) % 360})"></i>'


def sparkline(series: Sequence[tuple[Sequence[int], str]]) -> str:
    """Return curves on one scale; decoration beside the numbers."""
    values = [value for curve, _ in series for value in curve]
    if not values:
        return ""
    low, span = min(values), (max(values) - min(values)) or 1
    paths = []
    for curve, colour in series:
        count = max(1, len(curve) - 1)
        points = "L".join(
            f"{i * SPARK_WIDTH / count:.1f} {SPARK_HEIGHT - 2 - (value - low) / span * (SPARK_HEIGHT - 4):.1f}"
            for i, value in enumerate(curve)
        )
        paths.append(f'<path d="M{points}" stroke="var({colour})"/>' if points else "")
    return (
        f'<svg class="sb-spark" width="{SPARK_WIDTH}" height="{SPARK_HEIGHT}" viewBox="0 0 '
        f'{SPARK_WIDTH} {SPARK_HEIGHT}" '
        f'aria-hidden="true">{"".join(paths)}</svg>'
    )


def users(people: Sequence[Person]) -> str:
    """Return the table of the best users."""
    if not people:
        return empty(icon("users"), "Nobody copied yet", "Followed wallets appear here within a minute.")
    kept = hint("Kept", "Executable PnL / their PnL at our copy share; none where theirs is not above 0")
    theirs = hint("Shadow", "Their PnL at our copy share, since they were followed")
    ours = hint("Executable", "PnL of a paper portfolio that copies only this user, since they were followed")
    rows = []
    for person in people:
        trend = sparkline(((person.shadow_trend, "--shadow-c"), (person.exec_trend, "--exec")))
        part = percent(person.ours_micros, person.theirs_micros, digits=0)
        state = "" if person.is_copied else ' <span class="sb-chip">off</span>'
        rows.append(
            '<tr><td class="sb-us">'
            f'<span class="sb-who">{avatar(person.user_id)}<span class="sb-tr">{esc(person.label)}</span>'
            f"{state}</span></td>"
            f'<td class="sb-n">{pnl(person.theirs_micros)}</td><td class="sb-n">{pnl(person.ours_micros)}</td>'
            f'<td class="sb-n">{part}</td><td class="sb-n sb-lo">{trend}</td></tr>'
        )
    return (
        '<div class="sb-tw"><table class="sb-t"><thead><tr><th>User</th>'
        f'<th class="sb-n">{theirs}</th><th class="sb-n">{ours}</th>'
        f'<th class="sb-n">{kept}</th><th class="sb-lo"><span class="sb-vh">Trend</span></th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


STALE: Final = "No price is to be had of this token now, so it stands at its last one"


def markets(facts: Facts, now: datetime) -> str:
    """Return the table of the largest positions; those just closed fill it up. A stale price shows its age."""
    rows = []
    for held in (*facts.holdings[:TOP], *facts.closed)[:TOP]:
        price = cents(held.price_micros) if held.price_micros is not None else DASH
        if held.is_stale:
            age = ago(held.marked_at, now, " old") if held.marked_at else "no price yet, at cost"
            price += f' <span class="sb-mut" data-tip="{esc(STALE)}">{age}</span>'
        value = usd(held.value_micros) if held.share_micros else '<span class="sb-mut">closed</span>'
        title = f"{held.question} {held.outcome}".strip()
        rows.append(
            f'<tr><td class="sb-mkt"><span class="sb-tr" title="{esc(title)}">{esc(held.question)} '
            f'<span class="sb-outc">{esc(held.outcome)}</span></span></td><td class="sb-n sb-lo">{price}</td>'
            f'<td class="sb-n">{value}</td><td class="sb-n">{pnl(held.pnl_micros)}</td></tr>'
        )
    if not rows:
        return empty(icon("markets"), "Nothing held yet", "The first copied trade opens the first position.")
    result = hint("PnL", "Realised + unrealised of this position, before fees")
    return (
        '<div class="sb-tw"><table class="sb-t"><thead><tr><th>Market</th>'
        '<th class="sb-n sb-lo">Price</th><th class="sb-n">Held</th>'
        f'<th class="sb-n">{result}</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def decisions(rows: Sequence[DecisionRow], now: datetime) -> str:
    """Return the feed of decisions; on a phone each row becomes a two-line card."""
    if not rows:
        return empty(icon("clock"), "No decision yet", "The next trade of a followed wallet is decided within seconds.")
    body = []
    for row in rows:
        ours = usd(row.filled_micros) if row.decision == "EXECUTE" else DASH
        body.append(
            f'<tr><td class="sb-mut sb-num sb-a-t">{ago(row.seen_at, now, "")}</td>'
            '<td class="sb-a-w">'
            f'<span class="sb-who">{avatar(row.user_id)}<span class="sb-tr">{esc(row.user)}</span></span>'
            "</td>"
            f'<td class="sb-a-s">{_side(row)}</td><td class="sb-mkt"><span class="sb-tr" '
            f'title="{esc(f"{row.question} {row.outcome}".strip())}">{esc(row.question)} '
            f'<span class="sb-outc">{esc(row.outcome)}</span></span></td>'
            f'<td class="sb-n sb-a-n">{usd(row.their_notional_micros)}</td><td class="sb-n sb-lo">{ours}</td>'
            f'<td class="sb-res">{_result(row)}</td></tr>'
        )
    return (
        '<div class="sb-tw"><table class="sb-t sb-cards"><thead><tr><th>Seen</th><th>User</th>'
        "<th>Side</th><th>Market</th>"
        '<th class="sb-n">Their fill</th><th class="sb-n">Ours</th><th>Result</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _side(row: DecisionRow) -> str:
    if row.kind in KINDS:
        return f'<span class="sb-side">{KINDS[row.kind]}</span>'
    style, image, word = SIDES.get(row.side or "", ("b", "clock", row.side or ""))
    return f'<span class="sb-side sb-{style}">{icon(image, "sb-i12")}{esc(word)}</span>'


def _result(row: DecisionRow) -> str:
    if row.decision == "EXECUTE":
        part = Decimal(row.filled_micros) / row.target_micros if row.target_micros else Decimal(1)
        if part < WHOLE:
            return f'<span class="sb-chip sb-part">Part {part * 100:.0f}%</span>'
        return '<span class="sb-chip sb-ex">Copied</span>'
    label, sentence = reason(row.reasons[0]) if row.reasons else ("Skipped", "")
    tip = f"{sentence} {', '.join(row.reasons)}"
    more = f'<span class="sb-more"> +{len(row.reasons) - 1}</span>' if len(row.reasons) > 1 else ""
    return f'<span class="sb-chip sb-skip-r" data-tip="{esc(tip)}">{esc(label)}</span>{more}'


def skips(reasons: Reasons) -> str:
    """Return skips by reason with what each cost or saved, and the foot."""
    if not reasons.decisions:
        return empty(icon("empty"), "Nothing decided yet", "What is skipped is listed here with what it cost or saved.")
    if not reasons.skips:
        return empty(icon("empty"), "Nothing skipped", f"Every decision of the last {reasons.days} days was a copy.")
    widest = max(abs(row.effect_micros) for row in reasons.skips) or 1
    rows = []
    for row in reasons.skips[:8]:
        label, sentence = reason(row.reason)
        width = abs(row.effect_micros) / widest * 48
        side = "left" if row.effect_micros > 0 else "right"
        bar = f'<i style="{side}:50%;width:{width:.1f}%;--c:var(--{"gain" if row.effect_micros > 0 else "loss"})"></i>'
        effect = pnl(row.effect_micros) if row.valued else DASH
        tip = f"{sentence} {row.reason}; priced for {row.valued} of {row.skips}"
        rows.append(
            f'<span class="sb-tr">{hint(label, tip)}</span><span class="sb-n">{row.skips:,}</span>'
            f'<span class="sb-track">{bar if row.valued and row.effect_micros else ""}</span>'
            f'<span class="sb-n">{effect}</span>'
        )
    effect = hint("Effect", "What the skipped copies would have made by now, turned around, before fees")
    total = sum(row.effect_micros for row in reasons.skips)
    return (
        '<div class="sb-pb sb-grow"><div class="sb-div"><span class="sb-h">Reason</span>'
        '<span class="sb-h sb-n">Skips</span>'
        f'<span class="sb-h sb-hh"><span>cost</span><span>saved</span></span><span class="sb-h sb-n">{effect}</span>'
        f'{"".join(rows)}</div></div><div class="sb-pf">'
        f"<span>{reasons.skipped:,} of {reasons.decisions:,} decisions</span>"
        f'<span class="sb-sp"></span><span class="sb-num">in all {pnl(total)}</span></div>'
    )
