"""Ids are pure functions of facts, so a replay finds what it did before."""

from typing import Final
from uuid import UUID, uuid5

from libs.common.domain.kinds import Scope

NAMESPACE: Final = UUID("5b1f0c6e-4d0e-5d5c-9f0a-7a0d2c5a9b11")


def identify(kind: str, *facts: object) -> UUID:
    """Return the id of the thing of this `kind` that `facts` determine (order matters, text form counts)."""
    return uuid5(NAMESPACE, "\x1f".join((kind, *(str(fact) for fact in facts))))


def user_id(label: str) -> UUID:
    """Return the id of the followed user with this label."""
    return identify("user", label)


def fill_id(
    tx_hash: str, wallet: str, asset_id: str, side: str, share_micros: int, ordinal: int, incarnation: int
) -> UUID:
    """Return the id of one fill: its place among equal sightings of its transaction, and its incarnation."""
    return identify("fill", tx_hash, wallet, asset_id, side, share_micros, ordinal, incarnation)


def attempt_id(scope: Scope, group_id: UUID) -> UUID:
    """Return the id of the one attempt a group gets in a scope."""
    return identify("attempt", scope, group_id)
