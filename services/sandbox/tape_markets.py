"""The markets of a tape: each with the versions recorded of it, of which one is in force at an instant."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from services.sandbox.exchange import Market
from services.sandbox.order_filled import exchange_of
from services.sandbox.rebase import MARKET_TIMES, rebase_object
from services.sandbox.tape import LineFile, check_market, listed, token_ids
from services.sandbox.timeline import Timeline


class TapeMarkets:
    """Later lines of a market update earlier ones, each from its own instant on."""

    def __init__(self, file: LineFile, start_ms: int) -> None:
        recorded: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
        for line in file.lines():
            check_market(line)
            at_ms = line.whole("_at_ms", start_ms)
            recorded.setdefault(line.value["conditionId"].lower(), []).append((at_ms, line.number, line.value))
        self._versions: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for condition_id, lines in recorded.items():
            merged: dict[str, Any] = {}
            versions = self._versions.setdefault(condition_id, [])
            for at_ms, _, value in sorted(lines, key=lambda each: each[:2]):
                merged = {**merged, **value}
                versions.append((at_ms, merged))
        self._instants = sorted({at_ms for versions in self._versions.values() for at_ms, _ in versions})
        self._market_of = {
            token: condition_id
            for condition_id, versions in self._versions.items()
            for _, body in versions
            for token in token_ids(body)
        }
        self._known: tuple[int, Sequence[Market]] | None = None

    @property
    def last_ms(self) -> int:
        """Return the instant of the last version (0 without markets)."""
        return self._instants[-1] if self._instants else 0

    @property
    def emitters(self) -> dict[str, str]:
        """Return the exchange contract of each condition."""
        found = {}
        for condition_id, versions in self._versions.items():
            body = versions[-1][1]
            address = exchange_of(negative_risk=bool(body.get("negRisk")), version=str(body.get("version")))
            found[condition_id] = address
            found[str(body["conditionId"])] = address
        return found

    def closed(self, token_id: str, source_ms: int) -> bool:
        """Tell whether the token's market is closed at this instant."""
        version = self._in_force(self._market_of.get(token_id, ""), source_ms)
        return bool(version and version.get("closed"))

    def at(self, source_ms: int, timeline: Timeline) -> Sequence[Market]:
        """Return the markets in force, rebuilt only where a version came into force."""
        epoch = bisect_right(self._instants, source_ms)
        if self._known is not None and self._known[0] == epoch and timeline.playing:
            return self._known[1]
        found = []
        for condition_id in self._versions:
            body = self._in_force(condition_id, source_ms)
            if body is not None:
                found.append(_market(rebase_object(body, MARKET_TIMES, timeline.wall)))
        self._known = (epoch, found) if timeline.playing else None
        return found

    def _in_force(self, condition_id: str, source_ms: int) -> dict[str, Any] | None:
        versions = self._versions.get(condition_id, [])
        place = bisect_right(versions, source_ms, key=lambda each: each[0]) - 1
        return versions[place][1] if place >= 0 else None


def _market(body: dict[str, Any]) -> Market:
    return Market(
        market_id=str(body.get("id", "")),
        condition_id=str(body["conditionId"]),
        question_id=str(body.get("questionID", "")),
        slug=str(body.get("slug", "")),
        tokens=tuple(token_ids(body)),
        outcomes=tuple(listed(body.get("outcomes"))),
        closed=bool(body.get("closed")),
        negative_risk=bool(body.get("negRisk")),
        body=body if "closed" in body else {**body, "closed": False},  # what listings are filtered by is told
    )
