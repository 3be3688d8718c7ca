"""Follow and unfollow, each one audited transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.audit import write_audit
from libs.common.db.engine import transaction
from libs.common.db.tables.users import FollowedUser, FollowedUserProxyWallet
from libs.common.domain.identity import user_id
from services.ingest.reading import Follow

_USER: Final = FollowedUser.__table__  # type: ignore[attr-defined]
_WALLET: Final = FollowedUserProxyWallet.__table__  # type: ignore[attr-defined]
_LOCK: Final = 0x5AD0F011
"""Two people who follow at once take turns."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A follow and the label of its user; `new` is false when it was followed already."""

    label: str
    follow: Follow
    new: bool

    def __str__(self) -> str:
        return f"{self.label} ({self.follow.wallet})"


class FollowStore:
    """Writes FollowedUser and FollowedUserProxyWallet."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def follow(self, wallet: str, label: str, followed_at: datetime, actor: str, now: datetime) -> Followed:
        """Follow `wallet` as `label`; a label in use gets it as a further wallet. Following twice changes nothing.

        Raises ValueError when the wallet is followed under another label.
        """
        async with transaction(self._engine) as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            known = await self._known(connection, wallet)
            if known is not None:
                held_label, held = known
                if held_label != label and label:
                    raise ValueError(f"{wallet} is already known as {held_label!r}, not as {label!r}")
                if held is not None:
                    return Followed(held_label, held, new=False)
                owner = await self._take_up_again(connection, wallet, followed_at)
                await write_audit(connection, actor, "wallet_followed_again", wallet, {"label": held_label}, now)
                return Followed(held_label, Follow(wallet, owner, followed_at), new=True)
            name = label or await self._free_label(connection, wallet)
            owner = user_id(name)
            if not await connection.scalar(select(_USER.c.id).where(_USER.c.id == owner)):
                await connection.execute(
                    insert(_USER).values(
                        id=owner, label=name, profile_wallet=wallet, enabled=True, followed_at=followed_at
                    )
                )
            else:
                await connection.execute(update(_USER).where(_USER.c.id == owner).values(unfollowed_at=None))
            await connection.execute(insert(_WALLET).values(wallet=wallet, user_id=owner, followed_at=followed_at))
            await write_audit(connection, actor, "wallet_followed", wallet, {"label": name}, now)
            return Followed(name, Follow(wallet, owner, followed_at), new=True)

    async def wallets(self, label: str | None) -> list[str]:
        """Return the wallets now followed, all of them or those of the user with this label, in order."""
        query = (
            select(_WALLET.c.wallet)
            .join_from(_WALLET, _USER, _WALLET.c.user_id == _USER.c.id)
            .where(_WALLET.c.unfollowed_at.is_(None))
            .order_by(_WALLET.c.wallet)
        )
        async with transaction(self._engine) as connection:
            return list(await connection.scalars(query if label is None else query.where(_USER.c.label == label)))

    async def unfollow(self, wallet: str, actor: str, now: datetime) -> None:
        """Stop following `wallet`; history stays. Raises ValueError when it is not followed."""
        async with transaction(self._engine) as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            ended = await connection.scalar(
                update(_WALLET)
                .where(_WALLET.c.wallet == wallet, _WALLET.c.unfollowed_at.is_(None))
                .values(unfollowed_at=now)
                .returning(_WALLET.c.user_id)
            )
            if ended is None:
                raise ValueError(f"{wallet} is not followed; `shadowbook status` lists who is")
            left = await connection.scalar(
                select(func.count()).where(_WALLET.c.user_id == ended, _WALLET.c.unfollowed_at.is_(None))
            )
            if not left:
                await connection.execute(update(_USER).where(_USER.c.id == ended).values(unfollowed_at=now))
            await write_audit(connection, actor, "wallet_unfollowed", wallet, {}, now)

    async def _known(self, connection: AsyncConnection, wallet: str) -> tuple[str, Follow | None] | None:
        """Return (label, its follow if it is followed now) of a wallet ever followed."""
        query = (
            select(_USER.c.label, _WALLET.c.user_id, _WALLET.c.followed_at, _WALLET.c.unfollowed_at)
            .join_from(_WALLET, _USER, _WALLET.c.user_id == _USER.c.id)
            .where(_WALLET.c.wallet == wallet)
        )
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        current = Follow(wallet, row.user_id, row.followed_at) if row.unfollowed_at is None else None
        return row.label, current

    async def _take_up_again(self, connection: AsyncConnection, wallet: str, followed_at: datetime) -> UUID:
        owner: UUID = (
            await connection.execute(
                update(_WALLET)
                .where(_WALLET.c.wallet == wallet)
                .values(unfollowed_at=None, followed_at=followed_at)
                .returning(_WALLET.c.user_id)
            )
        ).scalar_one()
        await connection.execute(update(_USER).where(_USER.c.id == owner).values(unfollowed_at=None))
        return owner

    async def _free_label(self, connection: AsyncConnection, wallet: str) -> str:
        short = f"{wallet[:6]}-{wallet[-4:]}"
        taken = await connection.scalar(select(_USER.c.id).where(_USER.c.label == short))
        return wallet if taken else short
