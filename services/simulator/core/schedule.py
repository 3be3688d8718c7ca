"""When groups are due and whose turn it is, without a clock of its own.

Groups of one portfolio (a lane) are decided in order, so a lane waits for its first group, even when younger ones are
ready. What a lane knows is what this process heard of; the decision's own transaction has the last word.
"""

import heapq
from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final
from uuid import UUID

from libs.common.domain.kinds import GroupKind
from services.simulator.core.facts import Group, Order
from services.simulator.core.rules import Rules

LaneKey = UUID | None
"""The user of an EXEC_USER portfolio; None for EXEC_GLOBAL."""
AHEAD: Final = timedelta(milliseconds=250)
"""How long before its due a group comes up, so that what its decision needs can be arranged before it counts."""
LIVE: Final = timedelta(seconds=120)
"""A younger group is of live trading: it gets its book whatever age limit is set, so that its skip has a counterfactual
and can be decided again under another configuration."""


def own_due(group: Group, rules: Rules, seed: int) -> datetime:
    """Return when `group` is due by itself: closed + latency + jitter; the jitter is a stable hash of its id."""
    digest = blake2b(group.id.bytes, digest_size=8, key=seed.to_bytes(8, "big", signed=True)).digest()
    jitter = int.from_bytes(digest, "big") % (rules.jitter_ms + 1)
    return group.closed_at + rules.decision_latency + timedelta(milliseconds=jitter)


def is_history(group: Group, rules: Rules, now: datetime) -> bool:
    """Tell whether a group is neither live nor young enough to be copied."""
    return now - group.first_event_time > max(LIVE, rules.event_age)


@dataclass(slots=True)
class Waiting:
    """One group that waits for its decision. `is_ready`: it needs no book, or its book is settled."""

    group: Group
    due: datetime
    is_ready: bool = False
    came_up: bool = False
    failures: int = 0


@dataclass(slots=True)
class Lane:
    """The waiting groups of one portfolio."""

    line: list[tuple[Order, UUID]] = field(default_factory=list)
    """In order of decision; groups that no longer wait are dropped when they come to the front."""
    hold_until: datetime | None = None


class Schedule:
    """All waiting groups, by due time and by lane."""

    def __init__(self, *, per_user: bool) -> None:
        self._per_user = per_user
        self._waiting: dict[UUID, Waiting] = {}
        self._lanes: dict[LaneKey, Lane] = {}
        self._wakes: list[tuple[datetime, UUID]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, group_id: object) -> bool:
        return group_id in self._waiting

    def lane_of(self, group: Group) -> LaneKey:
        """Return the lane a group waits in."""
        return group.user_id if self._per_user else None

    def get(self, group_id: UUID) -> Waiting | None:
        """Return a waiting group."""
        return self._waiting.get(group_id)

    def add(self, group: Group, due: datetime) -> Waiting:
        """Let `group` wait; one that waits already stays as it is."""
        known = self._waiting.get(group.id)
        if known is not None:
            return known
        waiting = self._waiting[group.id] = Waiting(group, due)
        insort(self._lanes.setdefault(self.lane_of(group), Lane()).line, (group.order, group.id))
        heapq.heappush(self._wakes, (due - AHEAD, group.id))
        return waiting

    def reconsider(self, due_of: Callable[[Group], datetime]) -> None:
        """Let groups that fall due earlier than before come up earlier; what is due later is found when it comes up."""
        for group_id, waiting in self._waiting.items():
            due = due_of(waiting.group)
            if due < waiting.due:
                waiting.due = due
                heapq.heappush(self._wakes, (due if waiting.came_up else due - AHEAD, group_id))
                self._lanes[self.lane_of(waiting.group)].hold_until = None

    def remove(self, group_ids: Iterable[UUID]) -> None:
        """Forget groups that are decided, or given up."""
        for group_id in group_ids:
            self._waiting.pop(group_id, None)

    def come_up(self, now: datetime) -> list[Waiting]:
        """Return the groups that came within AHEAD of their due since the last call."""
        found = []
        while self._wakes and self._wakes[0][0] <= now:
            _, group_id = heapq.heappop(self._wakes)
            waiting = self._waiting.get(group_id)
            if waiting is not None and not waiting.came_up:
                waiting.came_up = True
                found.append(waiting)
                if waiting.due > now:
                    heapq.heappush(self._wakes, (waiting.due, group_id))
        return found

    def ready(self, group_ids: Iterable[UUID]) -> None:
        """Mark groups whose book is settled, or that need none, and let their lanes try at once."""
        for group_id in group_ids:
            if waiting := self._waiting.get(group_id):
                waiting.is_ready = True
                self._lanes[self.lane_of(waiting.group)].hold_until = None

    def hold(self, lane: LaneKey, until: datetime) -> None:
        """Leave a lane alone until then."""
        self._lanes.setdefault(lane, Lane()).hold_until = until

    def head(self, lane: LaneKey) -> Waiting | None:
        """Return the first group of a lane in order of decision."""
        line = self._lanes[lane].line
        gone = 0
        while gone < len(line) and line[gone][1] not in self._waiting:
            gone += 1
        del line[:gone]
        return self._waiting[line[0][1]] if line else None

    def eligible(self, now: datetime) -> list[LaneKey]:
        """Return lanes whose first group is due and ready, those waiting longest first; drops lanes that are empty."""
        found: list[tuple[datetime, int, LaneKey]] = []
        for place, key in enumerate(list(self._lanes)):
            lane, first = self._lanes[key], self.head(key)
            if first is None:
                del self._lanes[key]
            elif (lane.hold_until is None or lane.hold_until <= now) and first.due <= now and first.is_ready:
                found.append((first.due, place, key))
        return [key for _, _, key in sorted(found)]

    def waiting_in(self, lane: LaneKey, now: datetime, limit: int) -> list[Waiting]:
        """Return the first groups of a lane that are due, in order of decision, at most `limit`."""
        found: list[Waiting] = []
        for _, group_id in self._lanes[lane].line if lane in self._lanes else ():
            waiting = self._waiting.get(group_id)
            if waiting is not None and waiting.due <= now:
                found.append(waiting)
                if len(found) >= limit:
                    break
        return found

    def next_wake(self, now: datetime) -> datetime | None:
        """Return when something happens by itself: a group comes up or falls due, a hold ends; None: nothing waits."""
        while self._wakes and self._wakes[0][1] not in self._waiting:
            heapq.heappop(self._wakes)
        times = [self._wakes[0][0]] if self._wakes else []
        times += [lane.hold_until for lane in self._lanes.values() if lane.hold_until and lane.hold_until > now]
        return min(times, default=None)


def needs_book(group: Group, rules: Rules, now: datetime) -> bool:
    """Tell whether a group must have its book before it is decided: every TRADE that is not history."""
    return group.kind is GroupKind.TRADE and not is_history(group, rules, now)
