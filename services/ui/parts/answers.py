"""The three answers of the overview, as cards."""

from datetime import datetime
from decimal import Decimal
from typing import Final

from libs.common.domain.episodes import win_rate
from libs.common.domain.statistics import return_on_deposits
from services.ui.parts.figures import DASH, MINUS, ago, day, duration, percent, plain_percent, pnl, tone, usd
from services.ui.parts.html import dot, esc, hint
from services.ui.parts.words import reason
from services.ui.queries.decisions import Reasons
from services.ui.queries.overview import Facts, Gap, Overview
from services.ui.queries.portfolio import GlobalFigures, WinRate
from services.ui.queries.verdict import Line, Verdict

TOP_REASONS: Final = 3
SPARK_WIDTH: Final = 320
SPARK_HEIGHT: Final = 56


def money(overview: Overview, today: tuple[int, ...]) -> str:
    """Return "Am I making money?"; `today` is the PnL over the day, for its curve."""
    question = '<h2 class="sb-q">Am I making money?</h2>'
    figures = overview.facts.figures
    if figures is None:
        return (
            f'{question}<div class="sb-big sb-mut">\u2013</div>'
            '<div class="sb-say">The paper portfolio opens with the first '
            "copied wallet.</div>"
        )
    earned = return_on_deposits(figures.pnl_micros, figures.deposits_micros)
    rate = DASH if earned is None else percent(earned.numerator, earned.denominator, digits=2, sign=True)
    taken_out = f", {usd(figures.withdrawals_micros)} withdrawn," if figures.withdrawals_micros else ""
    return (
        f'{question}<div class="sb-big '
        f'{tone(figures.pnl_micros)}">{usd(figures.pnl_micros, sign=True, short=True)}</div>'
        '<div class="sb-say">'
        f"<b>{rate}</b> on {usd(figures.deposits_micros)} deposited{taken_out} since {day(figures.opened_at)}</div>"
        f'<div class="sb-cap">PnL today</div>{_spark(today)}{_four(figures, overview.slow.win_rate)}'
    )


def _four(figures: GlobalFigures, rate: WinRate) -> str:
    won = f"Closed positions with PnL above 0 / all closed positions ({rate.won:,} of {rate.closed:,})"
    lost = figures.drawdown
    fall = DASH if lost is None else percent(-lost.lost_micros, lost.base_micros)
    won_part = win_rate(rate.won, rate.closed)
    cells = (
        (hint("Today", f"PnL now {MINUS} PnL at 00:00 UTC"), pnl(figures.today_micros)),
        (hint("7 days", f"PnL now {MINUS} PnL 7 days ago"), pnl(figures.seven_days_micros)),
        (
            hint("Drawdown", f"(Equity {MINUS} peak equity) / peak equity"),
            f'<span class="{"sb-neg" if fall.startswith(MINUS) else ""}">{fall}</span>',
        ),
        (hint("Win rate", won), DASH if won_part is None else percent(won_part.numerator, won_part.denominator)),
    )
    return (
        '<dl class="sb-trio">'
        + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in cells)
        + "</dl>"
    )


def _spark(values: tuple[int, ...]) -> str:
    if not values:
        return '<div class="sb-ansp"></div>'
    low, high = min(0, *values), max(0, *values)
    span = high - low or 1
    count = max(1, len(values) - 1)
    height = SPARK_HEIGHT - 8

    def y(value: int) -> float:
        return SPARK_HEIGHT - 4 - (value - low) / span * height

    if high == low:
        low, span = -1, 2
    line = "M" + "L".join(f"{i * SPARK_WIDTH / count:.1f} {y(value):.1f}" for i, value in enumerate(values))
    label = f"PnL today: {usd(values[-1] - values[0], sign=True)}"
    return (
        f'<svg class="sb-ansp" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{esc(label)}"><path d="{line}L{SPARK_WIDTH} {SPARK_HEIGHT}L0 {SPARK_HEIGHT}Z" '
        f'fill="var(--global-fill)"/><path d="M0 {y(0):.1f}H{SPARK_WIDTH}" stroke="var(--line-strong)" '
        f'stroke-dasharray="3 3" vector-effect="non-scaling-stroke"/><path d="{line}" fill="none" '
        'stroke="var(--global)" stroke-width="1.5" vector-effect="non-scaling-stroke" stroke-linejoin="round"/></svg>'
    )


def shares(gap: Gap) -> str:
    """Return at which copy share the figures are: one, or a range."""
    if len(gap.copy_pcts) > 1:
        return "our copy shares"
    return f"{gap.copy_pcts[0] if gap.copy_pcts else 1}%"


def why(facts: Facts, reasons: Reasons) -> str:
    """Return "Why not as much as they do?": what is known; nothing is attributed that was not measured."""
    gap = facts.gap
    ahead = gap.gap_micros >= 0
    question = f'<h2 class="sb-q">{"Do I keep up with them?" if ahead else "Why not as much as they do?"}</h2>'
    if not any(person.exec_id for person in facts.people):
        return f'{question}<div class="sb-big sb-mut">\u2013</div><div class="sb-say">Nobody is copied yet.</div>'
    kept = percent(gap.ours_micros, gap.theirs_micros, digits=0)
    sentence = f"They made <b>{usd(gap.theirs_micros, sign=True)}</b> at {shares(gap)}. "
    if gap.theirs_micros > 0:
        sentence += f"Copying kept <b>{kept}</b> of it."
    else:
        sentence += f"Copying made <b>{usd(gap.ours_micros, sign=True)}</b>."
    return (
        f'{question}<div class="sb-big">{usd(gap.gap_micros, sign=True, short=True)}</div>'
        f'<div class="sb-say">{sentence}</div>{_bars(gap)}'
        '<dl class="sb-cause"><div>'
        f'<dt>{hint("Fees we paid", "Taker fees of all copies; part of the gap")}</dt><dd class="sb-sh"></dd>'
        f"<dd>{usd(-gap.fees_micros)}</dd></div>{_skips(reasons)}</dl>"
    )


def _bars(gap: Gap) -> str:
    theirs = hint("Theirs", "Sum over users of their PnL at our copy share, since each was followed")
    ours = hint("Ours", "Sum over users of the PnL of copying that user alone, each with its own paper bankroll")
    rows = ((theirs, gap.theirs_micros, "--shadow-c"), (ours, gap.ours_micros, "--exec"))
    low, high = min(0, gap.theirs_micros, gap.ours_micros), max(0, gap.theirs_micros, gap.ours_micros)
    span = high - low or 1
    html = ['<div class="sb-duo">']
    for name, value, colour in rows:
        left, width = (min(0, value) - low) / span * 100, abs(value) / span * 100
        html.append(
            f'<span class="sb-lab">{name}</span><span class="sb-track"><i style="left:{left:.1f}%;'
            f'width:{max(0.6, width):.1f}%;--c:var({colour})"></i></span>'
            f'<span class="sb-n">{usd(value, sign=True)}</span>'
        )
    return "".join(html) + "</div>"


def _skips(reasons: Reasons) -> str:
    if not reasons.decisions:
        return ""
    share = percent(reasons.skipped, reasons.decisions, digits=0)
    formula = f"{reasons.skipped:,} of {reasons.decisions:,} decisions of the global portfolio in {reasons.days} days"
    rows = [f'<div><dt>{hint("Skipped", formula)}</dt><dd class="sb-sh">{share}</dd><dd>{reasons.skipped:,}</dd></div>']
    for row in reasons.skips[:TOP_REASONS]:
        label, sentence = reason(row.reason)
        part = percent(row.skips, reasons.decisions, digits=0)
        rows.append(
            f'<div><dt><span class="sb-in">{hint(label, sentence)}</span></dt><dd class="sb-sh">{part}</dd>'
            f"<dd>{row.skips:,}</dd></div>"
        )
    return "".join(rows)


def working(verdict: Verdict, now: datetime, error: str | None) -> str:
    """Return "Is everything working?"."""
    if error is not None:
        kind, words = "bad", "No: database away"
    elif verdict.problem:
        kind, words = verdict.kind, f"No: {verdict.problem}"
    else:
        kind, words = ("ok", "Yes, all of it") if verdict.kind == "ok" else ("", "Yes, nothing to do")
    lines = "".join(_line(line, now) for line in verdict.lines)
    return (
        f'<h2 class="sb-q">Is everything working?</h2><div class="sb-big sb-word">{dot(kind)}{esc(words)}</div>'
        f'<dl class="sb-hl">{lines}</dl>'
    )


def _line(line: Line, now: datetime) -> str:
    kind = "" if line.kind == "idle" else line.kind
    name = hint(line.name, line.formula) if line.formula else esc(line.name)
    value = ago(line.at, now) if line.at is not None else esc(line.value)
    return f"<div><dt>{dot(kind)}{name}</dt><dd>{value}</dd></div>"


def programs(facts: Facts, now: datetime) -> str:
    """Return the state of each process."""
    kinds = {
        "ok": ("ok", "up"),
        "starting": ("warn", "starting"),
        "degraded": ("warn", "struggling"),
        "down": ("bad", ""),
    }
    cells = []
    for process in facts.health.processes:
        kind, word = kinds.get(process.status, ("", process.status))
        if process.status == "ok":
            word = f"up {duration((now - process.started_at).total_seconds())}"
        said = ago(process.beat_at, now, " silent") if process.status == "down" else esc(word)
        why = "; ".join(process.faults.values()) or f"{process.instance}, registers every 5 s"
        cells.append(f"<li>{dot(kind)}{hint(process.instance.removesuffix('-0'), why)}<span>{said}</span></li>")
    cells += [f"<li>{dot('bad')}{esc(name)}<span>never seen</span></li>" for name in facts.health.missing]
    return f'<ul class="sb-procs">{"".join(cells)}</ul>'


def limits(facts: Facts) -> str:
    """Return the body and foot of "Risk limits in use"."""
    rows = []
    for use in facts.limits:
        limit = Decimal(use.limit_pct)
        part = Decimal(use.used_micros) * 100 / use.base_micros if use.base_micros > 0 else Decimal(0)
        share = min(Decimal(100), part * 100 / limit) if limit else Decimal(100 if part else 0)
        high = " sb-hi" if share >= 85 else ""
        name = f"{use.name}, {use.of}" if use.of else use.name
        rows.append(
            f'<div><dt title="{esc(name)}">{esc(name)}</dt><dd>{part:.1f}% <span>of {plain_percent(limit)}</span></dd>'
            f'<dd class="sb-bar{high}" aria-hidden="true"><i style="width:{share:.1f}%"></i></dd></div>'
        )
    count = len(facts.holdings)
    tripped = facts.figures is not None and facts.figures.drawdown_tripped
    state = f"{dot('bad')}Drawdown breaker tripped" if tripped else f"{dot('ok')}No breaker tripped"
    return (
        f'<div class="sb-pb"><dl class="sb-lim">{"".join(rows)}</dl></div>'
        f'<div class="sb-pf">{state}<span class="sb-sp"></span>'
        f'<span class="sb-num">{count:,} open position{"" if count == 1 else "s"}</span></div>'
    )
