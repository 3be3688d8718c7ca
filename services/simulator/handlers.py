"""Translate messages into waiting groups and a look at the configuration."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

from libs.common.domain.errors import Rejected
from libs.common.messages import ConfigChanged, ConfigTestRequested, ControlChanged, GroupClosed
from services.simulator.core.facts import Group
from services.simulator.store.rows import Candidate


class KnownGroups(Protocol):
    """The part of the store that says which groups exist."""

    async def find(self, group_ids: Sequence[UUID]) -> list[Candidate]:
        """Return those groups that exist, with their attempts."""


def on_groups_closed(
    groups: KnownGroups,
    wait_for: Callable[[Sequence[Group]], None],
    announce: Callable[[Sequence[Candidate]], Awaitable[None]],
) -> Callable[[Sequence[GroupClosed]], Awaitable[None]]:
    """Return the handler that lets groups wait for their decision, and announces again those that have one."""

    async def handle(batch: Sequence[GroupClosed]) -> None:
        found = {candidate.group.id: candidate for candidate in await groups.find([each.group_id for each in batch])}
        for message in batch:
            if message.group_id not in found:
                raise Rejected(f"expected a group that the grouper committed, got unknown group_id {message.group_id}")
        wait_for([each.group for each in found.values() if each.attempted is None])
        await announce([each for each in found.values() if each.attempted is not None])

    return handle


def on_config_changed(look: Callable[[], None]) -> Callable[[Sequence[ConfigChanged]], Awaitable[None]]:
    """Return the handler that has the configuration merged again."""

    async def handle(_batch: Sequence[ConfigChanged]) -> None:
        look()

    return handle


def on_control_changed(look: Callable[[], None]) -> Callable[[Sequence[ControlChanged]], Awaitable[None]]:
    """Return the handler that wakes the scheduler; flags are read in each decision's own transaction."""

    async def handle(_batch: Sequence[ControlChanged]) -> None:
        look()

    return handle


def on_config_test_requested(wake: Callable[[], None]) -> Callable[[Sequence[ConfigTestRequested]], Awaitable[None]]:
    """Return the handler that has a worker look for tests that wait; the rows say which."""

    async def handle(_batch: Sequence[ConfigTestRequested]) -> None:
        wake()

    return handle
