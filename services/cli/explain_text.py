"""An explanation as a person reads it at a terminal, 100 columns wide; plain text where it is piped."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from libs.common.domain.explanation import CheckMade, Explanation, Member
from libs.common.domain.wording import seconds, signed_usdc, usdc
from services.cli.explain_book import amount, book_blocks, indented, short, title
from services.cli.printing import plain_table

MEMBERS_MAX: Final = 12
_VERDICTS: Final = {"pass": ("pass", "green"), "fail": ("FAIL", "bold red"), "n/a": ("-", "dim")}


def printed(found: Sequence[Explanation]) -> Iterator[RenderableType]:
    """Yield the blocks of every explanation."""
    for place, each in enumerate(found):
        if place:
            yield Text("\n" + "═" * 100 + "\n", style="dim")
        yield from _blocks(each)


def _blocks(found: Explanation) -> Iterator[RenderableType]:
    executed = found.result.decision == "EXECUTE"
    head = Text("COPIED" if executed else "NOT COPIED", style="bold green" if executed else "bold red")
    head.append(f"  {found.theirs.user}, {found.scope}, decision {found.seq:,} of this portfolio", style="not bold")
    yield head
    yield Text(found.summary)
    if found.result.reasons:
        yield Text(f"Reasons: {' '.join(found.result.reasons)}", style="red")
    yield _pairs(("attempt", str(found.attempt_id)), ("group", str(found.group_id)))
    yield from _theirs(found)
    yield from _times(found)
    yield from _portfolio(found)
    yield from _configuration(found)
    yield title("Checks, in order; the first phase with a failure stops")
    yield indented(_checks(found.checks))
    if found.book is not None:
        yield from book_blocks(found, found.book)
    yield from _result(found)


def _pairs(*pairs: tuple[str, str | None]) -> Padding:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, value in pairs:
        if value is not None:
            grid.add_row(name, value)
    return indented(grid)


def _theirs(found: Explanation) -> Iterator[RenderableType]:
    theirs = found.theirs
    many = len(theirs.members)
    yield title(f"What {theirs.user} did: {theirs.side or theirs.kind}, {many:,} {'event' if many == 1 else 'events'}")
    outcome = f' "{theirs.outcome}"' if theirs.outcome else ""
    priced = "" if theirs.price_micros is None else f", VWAP {usdc(theirs.price_micros)}"
    yield _pairs(
        ("market", (theirs.question or "not known") + outcome),
        ("condition", theirs.condition_id),
        ("token", theirs.asset_id),
        ("in all", f"{usdc(theirs.share_micros)} shares for {usdc(theirs.notional_micros)} USDC{priced}"),
    )
    if many > 1 or (many and theirs.members[0].tx_hash):
        yield indented(_members(theirs.members))


def _members(members: Sequence[Member]) -> Table:
    table = plain_table("TIME", "SEEN BY", ">SHARES", ">USDC", "TRANSACTION")
    for each in members[:MEMBERS_MAX]:
        table.add_row(
            "" if each.event_time is None else _clock(each.event_time),
            {"CHAIN": "chain", "DATA_API": "API"}.get(each.first_source or "", ""),
            "" if each.share_micros is None else usdc(each.share_micros),
            "" if each.notional_micros is None else usdc(each.notional_micros),
            f"{each.tx_hash[:18]}…{each.tx_hash[-6:]}" if each.tx_hash else "",
        )
    if len(members) > MEMBERS_MAX:
        table.add_row("…", "", "", "", f"{len(members) - MEMBERS_MAX:,} more; --json has them all")
    return table


def _times(found: Explanation) -> Iterator[RenderableType]:
    times = found.times
    yield title(f"When, {times.event.astimezone(UTC):%Y-%m-%d} UTC")
    late = "" if times.lateness_ms is None else f"; {times.lateness_ms:,} ms after it could be"
    order = "; OUT OF ORDER: a younger group had been decided already" if times.out_of_order else ""
    waited = ""
    if times.effective_due is not None and times.effective_due > times.due:
        waited = f", {seconds((times.effective_due - times.due).total_seconds())} later for its turn"

    def at(moment: datetime | None, note: str = "") -> str | None:
        if moment is None:
            return None
        whole, ms = divmod((moment - times.event) // timedelta(milliseconds=1), 1000)
        return f"{_clock(moment)}  +{whole}.{ms:03d} s{note}"

    yield _pairs(
        ("on chain", _clock(times.event)),
        ("first seen", at(times.detected)),
        ("group closed", at(times.closed)),
        ("due", at(times.due, waited)),
        ("book fetched", at(times.book_fetched)),
        ("decided", at(times.decided, late + order)),
    )


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S.%f}"[:-3]


def _portfolio(found: Explanation) -> Iterator[RenderableType]:
    view = found.portfolio
    yield title("The portfolio before, in-flight fills included")
    exposure = [
        f"{usdc(value, 2)} {what}"
        for what, value in (
            ("in all", view.exposure_total_micros),
            ("in this market", view.exposure_market_micros),
            (f"through {found.theirs.user}", view.exposure_user_micros if found.scope == "EXEC_GLOBAL" else None),
        )
        if value is not None
    ]
    legs = ""
    if len(view.leg_share_micros) > 1:
        legs = f"; by outcome {' / '.join(usdc(each) for each in view.leg_share_micros)}"
    yield _pairs(
        ("cash", amount(view.cash_micros)),
        ("equity", amount(view.equity_micros)),
        ("exposure", ", ".join(exposure)),
        ("held", f"{amount(view.held_share_micros)} shares{legs}"),
        (
            "they held",
            None if view.their_held_share_micros is None else f"{amount(view.their_held_share_micros)} shares",
        ),
        ("day start", f"{amount(view.day_start_micros)}, week start {amount(view.week_start_micros)}"),
        ("peak", amount(view.peak_micros) + (", drawdown breaker TRIPPED" if view.drawdown_tripped else "")),
    )


def _configuration(found: Explanation) -> Iterator[RenderableType]:
    config = found.configuration
    since = "" if config.effective_at is None else f", in force since {config.effective_at:%Y-%m-%d %H:%M:%S}"
    of = {"USER": f"own of {found.theirs.user}", "GLOBAL": "global"}.get(config.scope or "", "unknown")
    yield title(f"Configuration {config.version} ({of}{since})")
    changed = [each for each in config.settings if each.source != "DEFAULT"]
    if not config.settings:
        yield indented(Text("Its values are not there."))
    elif not changed:
        yield indented(Text(f"All {len(config.settings)} settings are the defaults."))
    else:
        table = plain_table("SETTING", "~VALUE", "SET FOR", "~GLOBAL", "~DEFAULT")
        for each in changed:
            own = each.source == "USER"
            who = found.theirs.user if own else "everybody"
            table.add_row(
                each.name, _value(each.value), who, _value(each.global_value) if own else "", _value(each.default)
            )
        yield indented(table)
        yield indented(Text(f"The other {len(config.settings) - len(changed)} are the defaults.", style="dim"))


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value[:3])) + (f" and {len(value) - 3} more" if len(value) > 3 else "") or "none"
    return "none" if value is None else str(value)


def _checks(checks: Sequence[CheckMade]) -> Table:
    table = plain_table("PHASE", "CHECK", "", "~FOUND", "~BOUND")
    phase = None
    for each in checks:
        verdict, style = _VERDICTS.get(each.verdict, (each.verdict, ""))
        row_style = "bold red" if each.verdict == "fail" else "dim" if each.verdict == "n/a" else ""
        name = each.phase if each.phase != phase else ""
        found = short(each.found) + (f"\n{each.reason}" if each.reason else "")
        table.add_row(name, each.title, Text(verdict, style=style), found, short(each.limit), style=row_style)
        phase = each.phase
    return table


def _result(found: Explanation) -> Iterator[RenderableType]:
    result = found.result
    if result.decision != "EXECUTE":
        yield from _counterfactual(found)
        return
    yield title("Result")
    ratio = "" if result.fill_ratio_pct is None else f", {result.fill_ratio_pct} % of the target"
    target = "" if result.target_notional_micros is None else f" {usdc(result.target_notional_micros)}"
    slippage = None
    if result.slippage_micros is not None:
        worse = "worse" if result.slippage_micros > 0 else "better" if result.slippage_micros < 0 else "the same"
        slippage = f"{signed_usdc(result.slippage_micros)} a share, {result.slippage_bps} bps: {worse} than theirs"
        slippage = slippage if result.slippage_micros else "none: their price"
    yield _pairs(
        ("filled", f"{usdc(result.share_micros)} shares for {usdc(result.notional_micros)} USDC{ratio}{target}"),
        ("price", None if result.vwap_micros is None else f"{usdc(result.vwap_micros)} on average"),
        ("slippage", slippage),
        ("fee", f"{usdc(result.fee.fee_micros)}" + (f"  ({result.fee.words})" if result.fee.words else "")),
        ("posted", "not yet" if result.posted_at is None else f"{result.posted_at:%Y-%m-%d %H:%M:%S} UTC"),
    )
    if found.book is not None and not found.book.kept:
        table = plain_table(">LEVEL", ">PRICE", ">SHARES", ">USDC", ">FEE")
        for fill in result.fills:
            amounts = (fill.price_micros, fill.share_micros, fill.notional_micros, fill.fee_micros)
            table.add_row(str(fill.level), *(usdc(each) for each in amounts))
        yield indented(table)


def _counterfactual(found: Explanation) -> Iterator[RenderableType]:
    yield title("What copying would have done, without the checks that failed")
    imagined = found.counterfactual
    if imagined is None:
        yield indented(Text("Not to be told: there was no book."))
        return
    if not imagined.share_micros:
        yield indented(Text("Nothing: there was nothing to fill."))
        return
    price = "not marked yet" if imagined.mark_micros is None else usdc(imagined.mark_micros)
    source = {"MIDPOINT": "midpoint", "LAST_TRADE": "last trade", "PAYOUT": "payout"}.get(
        imagined.mark_source or "", ""
    )
    at = "" if imagined.marked_at is None else f", {source} at {imagined.marked_at:%Y-%m-%d %H:%M:%S} UTC"
    worth = "not known"
    if imagined.pnl_micros is not None:
        effect = "missed" if imagined.pnl_micros > 0 else "saved"
        worth = f"{signed_usdc(imagined.pnl_micros)} USDC"
        worth += f": this skip {effect} that much" if imagined.pnl_micros else ""
    done = "would sell" if found.theirs.side == "SELL" else "would buy"
    yield _pairs(
        (done, f"{usdc(imagined.share_micros)} shares for {usdc(imagined.notional_micros)} USDC"),
        ("fee", "not known: the market is not known" if imagined.fee_micros is None else usdc(imagined.fee_micros)),
        ("latest mark", f"{price}{at}"),
        ("worth now", worth),
    )
