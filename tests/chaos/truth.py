"""Does the coverage report of a finished play tell the truth? Judged by the schedule, the sightings and the log alone.

Three accounts: what was counted (sightings as exported), what contact is claimed (a claim of live contact is a promise
that fills of that time were seen soon, a gap is the admission that nothing was), and what the schedule did to whom.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from tests.chaos.account import API, CHAIN, SECOND, Account, Gap, Stretch
from tests.chaos.counted import COUNTED
from tests.oracle.run import microseconds

START_SECONDS: Final = 10
"""From the start of play on somebody is in contact; the stack was followed, subscribed and polled before."""
BLOCK_SECONDS: Final = 1
"""A block bears a whole second, in which it was mined: a gap that begins with the next one may hold it."""
MINED_SECONDS: Final = 4
"""From the time a block or a row bears until the node or the API shows it."""
LIVE_SECONDS: Final = 10
"""A log that is pushed is seen within this, on a machine with other work."""
LATE_SECONDS: Final = 2
"""A log this late was not pushed but fetched, or could have been."""
POLLED_SECONDS: Final = 85
"""A row is seen within this while polls are at most two turns of 30 s apart and the API lags by 20 s."""
RECONNECT_SECONDS: Final = 36
"""The longest pause before another attempt, and the attempt."""
CALL_SECONDS: Final = 45
"""The longest that one call of the API is retried; a poll may begin that long before it is answered."""
TURN_SECONDS: Final = 35
REPLACED_SECONDS: Final = 10
SAVED_SECONDS: Final = 7
"""A killed process's last word about contact is at most this old."""
OUTAGE_SECONDS: Final = 100
"""An API outage longer than this leaves two complete polls more than two turns apart, whenever they were due."""

CUTTING: Final = {"down", "ws_drop"}
GARBLING: Final = {"truncated", "html", "malformed"}
FAILING: Final = {"down", "rate_limit", "server_error", "html", "truncated", "malformed"}


def untruths(account: Account) -> list[str]:
    """Return every sentence in which the report of a play that drained says something untrue."""
    checks = (
        _verdict,
        *COUNTED,
        _chain_claims,
        _api_claims,
        _chain_struck,
        _undisturbed,
        _restarted,
        _api_struck,
    )
    return [f"coverage: {said}" for check in checks for said in check(account)]


def _verdict(account: Account) -> Iterator[str]:
    report = account.report
    if not report["complete"] or report["suspects"]:
        yield f"a drained play is not complete: {report['verdict']}, suspects {report['suspects'][:3]}"
    for gap in account.gaps:
        if gap.status == "UNHEALED":
            yield f"{gap} is unhealed"
    if account.failures is not None and (told := account.source(API)["failed_polls"]) != account.failures:
        yield f"{told} failed polls, the log has {account.failures}"
    for day in report["days"]:
        if day["answer"] != ("complete" if day["fills"] else "no trade"):
            yield f"{day['user']} with {day['fills']} fills is {day['answer']!r}"
    if {source["source"]: source["configured"] for source in report["sources"]} != {CHAIN: True, API: True}:
        yield f"sources are {report['sources']}"


def _claims(
    account: Account, source: str, rows: Iterable[dict[str, Any]], gaps: Sequence[Gap], soon: float
) -> Iterator[str]:
    """Compare claims of contact with what was seen when: neither too much is claimed, nor too little."""
    seen = account.seen
    # Contact with the chain ends before the first log that was fetched; what a killed process saw after its last word
    # it can no longer say.
    told = CALL_SECONDS if source == API else SAVED_SECONDS if account.restarts else 1
    pushed = (LATE_SECONDS if source == CHAIN else POLLED_SECONDS) * SECOND
    late = [row["event_time"] for row in rows if seen[row["id"]].get(source, 0) > row["event_time"] + pushed]
    for row in rows:
        at, happened = seen[row["id"]].get(source), row["event_time"]
        if at is None:
            continue
        about = f"{source} of {row['tx_hash'][:10]} at {account.seconds(happened)} s, seen at {account.seconds(at)} s"
        around = [
            gap for gap in gaps if gap.span.holds(happened, before=BLOCK_SECONDS if source == CHAIN else MINED_SECONDS)
        ]
        if not around and at - happened > soon * SECOND:
            yield f"contact is claimed, {about}"
        healed = [gap.healed_at for gap in around if gap.healed_at is not None]
        if (
            healed
            and len(healed) == len(around)
            and at > max(healed) + MINED_SECONDS * SECOND
            and at - happened > soon * SECOND
        ):
            yield f"healed at {account.seconds(max(healed))} s, {about}"
        for gap in gaps:
            # What came after something that had to be fetched is no proof that nothing more was withheld.
            excused = any(gap.span.start - SECOND <= missed <= at for missed in late)
            if not excused and gap.span.holds(at, -told, -1):
                span = f"{account.seconds(gap.span.start)} to {account.seconds(gap.span.end)} s"
                yield f"no contact is admitted from {span}, {about}"


def _chain_claims(account: Account) -> Iterator[str]:
    rows = [row for row in account.run["events"] if row["kind"] == "TRADE"]
    gaps = [gap for gap in account.gaps if gap.wallet is None]
    yield from _claims(account, CHAIN, rows, gaps, LIVE_SECONDS + account.delay("rpc"))


def _api_claims(account: Account) -> Iterator[str]:
    for wallet in account.wallets:
        rows = [row for row in account.run["events"] if row["wallet"] == wallet]
        gaps = [gap for gap in account.gaps if gap.wallet == wallet]
        yield from _claims(account, API, rows, gaps, POLLED_SECONDS + 2 * account.delay("data"))


def _chain_struck(account: Account) -> Iterator[str]:
    until = microseconds(account.report["until"])
    gaps = [gap for gap in account.gaps if gap.wallet is None and account.seconds(gap.span.end) > START_SECONDS]
    logged = [row["event_time"] for row in account.run["events"] if row["kind"] == "TRADE"]
    for span in account.struck("rpc", CUTTING):
        hit = [gap for gap in gaps if gap.span.holds(span.start, 2, 2)]
        if not hit:
            yield f"the node was cut off at {account.seconds(span.start)} s: no gap"
        end = max((gap.span.end for gap in hit), default=span.end)
        if not Stretch(min(span.end, until), span.end).holds(end, 1, RECONNECT_SECONDS):
            yield f"the node was cut off until {account.seconds(span.end)} s, the gap ends at {account.seconds(end)} s"
        if any(gap.healed_by != "GETLOGS" and gap.span.end < until for gap in hit):
            yield f"{hit[0]} is not healed by the node"
    for name, least in (("ws_flap", 3), ("ws_silent", 1)):
        for span in account.struck("rpc", {name}):
            hit = [gap for gap in gaps if span.holds(gap.span.start, 2, 2)]
            fell = [at for at in logged if span.holds(at, -MINED_SECONDS, -RECONNECT_SECONDS)]
            if fell and len(hit) < least and span.end - span.start > RECONNECT_SECONDS * SECOND:
                yield f"{name} for {(span.end - span.start) // SECOND} s with {len(fell)} fills leaves {len(hit)} gaps"
    for span in account.struck("rpc", GARBLING):
        fell = [at for at in logged if span.holds(at, -1, -MINED_SECONDS)]
        if fell and not any(gap.span.holds(min(fell), 0, MINED_SECONDS) or span.holds(gap.span.start) for gap in gaps):
            yield f"frames were garbled from {account.seconds(span.start)} s: no gap"


def _undisturbed(account: Account) -> Iterator[str]:
    harmless = {"duplicate_rows", "reorder_rows", "reorg", "no_block_timestamp"}
    if account.restarts or any(
        row["fault"] not in harmless and row["target"] in {"rpc", "all"} for row in account.faults
    ):
        return
    seen = account.seen
    unlogged = any(row["kind"] == "TRADE" and CHAIN not in seen[row["id"]] for row in account.run["events"])
    for gap in account.gaps:
        # A fill that no log shows makes the socket suspect; it is replaced, and cleared.
        replaced = (
            unlogged
            and gap.ended_by.startswith("doubted")
            and gap.span.end - gap.span.start < REPLACED_SECONDS * SECOND
        )
        if gap.wallet is None and account.seconds(gap.span.end) > START_SECONDS and not replaced:
            yield f"nothing cut the node off, yet {gap} at {account.seconds(gap.span.start)} s"


def _restarted(account: Account) -> Iterator[str]:
    gaps = [gap for gap in account.gaps if gap.wallet is None]
    for at in account.restarts:
        hit = [gap for gap in gaps if gap.span.holds(at, 0, 1)]
        if (
            len(hit) != 1
            or hit[0].healed_by != "GETLOGS"
            or not Stretch(at, at).holds(hit[0].span.end, 0, TURN_SECONDS)
        ):
            yield f"ingest was started again at {account.seconds(at)} s: {[str(gap) for gap in hit]}"


def _api_struck(account: Account) -> Iterator[str]:
    gaps = [gap for gap in account.gaps if gap.wallet is not None and account.seconds(gap.span.end) > START_SECONDS]
    spans = account.struck("data", FAILING)
    failed = account.source(API)["failed_polls"]
    for span in spans:
        if span.end - span.start < OUTAGE_SECONDS * SECOND:
            continue
        for wallet in account.wallets:
            own = [gap for gap in gaps if gap.wallet == wallet and gap.span.holds(span.start, 1, TURN_SECONDS)]
            if len(own) != 1:
                yield f"the API was down from {account.seconds(span.start)} s: {len(own)} gaps of {wallet}"
                continue
            (gap,) = own
            if not span.holds(gap.span.start, TURN_SECONDS, 1):
                yield f"{gap} starts at {account.seconds(gap.span.start)} s"
            if not Stretch(span.end, span.end).holds(gap.span.end, CALL_SECONDS, TURN_SECONDS):
                yield f"{gap} ends at {account.seconds(gap.span.end)} s"
            if gap.healed_by != "POLL" or not gap.ended_by:
                yield f"{gap} should be healed by a poll and say why"
    if any(span.end - span.start >= 60 * SECOND for span in spans) and not failed:
        yield "polls failed for a minute and none is told"
    if account.failures is not None and not account.struck("data", {*FAILING, "slow"}):
        if failed:
            yield f"{failed} failed polls, and nothing disturbed them"
        if gaps:
            yield f"nothing disturbed the API, yet {gaps[0]} at {account.seconds(gaps[0].span.start)} s"


def untruths_midway(account: Account, report: dict[str, Any]) -> list[str]:
    """Return what a report says that is untrue while the outages of a play last."""
    now = microseconds(report["until"])
    said = []
    for name, target, names in ((CHAIN, "rpc", CUTTING), (API, "data", FAILING)):
        away = any(span.holds(now) for span in account.struck(target, names))
        gaps = [gap for gap in report["gaps"] if gap["source"] == name and gap["open"]]
        (source,) = [each for each in report["sources"] if each["source"] == name]
        wanted = 0 if not away else 1 if name == CHAIN else report["wallets"]
        if source["in_contact"] == away or len(gaps) != wanted:
            said.append(
                f"{name} is {'' if away else 'not '}away: in contact {source['in_contact']}, {len(gaps)} open gaps"
            )
        # The API shows what the chain would have; nothing shows for certain what the API would have.
        status = "BRIDGED" if name == CHAIN else "UNHEALED"
        said += [f"{name}: an open gap is {gap['status']}" for gap in gaps if gap["status"] != status]
        if name == API and report["complete"] == away:
            said.append(f"the API is {'' if away else 'not '}away: {report['verdict']}")
    return [f"coverage midway: {each}" for each in said]
