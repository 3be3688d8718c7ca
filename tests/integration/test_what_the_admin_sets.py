"""Settings, blacklist and switches as rows of intent: judged together, audited, merged, and in force in decisions."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from libs.common.db import switches
from libs.common.db.blacklist import find_condition, read_blacklist, set_listed
from libs.common.db.engine import transaction
from libs.common.db.settings import ConfigConflictError, UnknownUserError, find_user, read_layers, write_settings
from libs.common.db.settings_view import read_history, read_settings
from libs.common.domain.config_problem import ConfigRejected
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Scope
from services.simulator.commands import apply_config_file
from services.simulator.store.configs import ConfigStore
from tests.support.decisions import CONDITION, YES, usdc
from tests.support.simulator_world import HERON, OTTER, World

pytestmark = pytest.mark.integration
USER, GLOBAL = Scope.EXEC_USER, Scope.EXEC_GLOBAL
OTHER = "0x" + "d" * 64


async def put(world: World, changes: Mapping[UUID | None, Mapping[str, Any]], **more: Any) -> list[UUID | None]:
    """Write settings as the dashboard would, by its own role."""
    async with transaction(world.database.engine("ui")) as connection:
        return await write_settings(connection, changes, "admin", **more)


async def listed(world: World, condition: str, user: UUID | None, value: bool | None) -> bool:
    async with transaction(world.database.engine("ui")) as connection:
        return await set_listed(connection, condition, user, value, "because", "admin")


async def decide(world: World, *scopes: Scope, **group: Any) -> list[Any]:
    """Have a group of otter's decided in these scopes under what is set now; return the attempts on it."""
    await world.replica(USER).configs.merge()
    found = await world.close_group(**group)
    attempts = []
    for scope in scopes:
        replica = world.replica(scope)
        await replica.hear(found)
        await replica.decide_all()
        attempts += [each for each in await world.attempts(scope) if each.group_id == found]
    return attempts


async def set_by_hand(world: World, user: UUID | None, values: str) -> None:
    await world.execute(
        "INSERT INTO guardrail_config (id, scope, user_id, values, updated_at, updated_by)"
        " VALUES (gen_random_uuid(), :s, :u, CAST(:v AS jsonb), now(), 'hand')"
        " ON CONFLICT (scope, user_id) DO UPDATE SET values = excluded.values",
        s="USER" if user else "GLOBAL", u=user, v=values,
    )  # fmt: skip


# settings


async def test_a_users_value_valid_alone_is_refused_where_it_contradicts_the_global_one(world: World) -> None:
    await put(world, {None: {"max_event_age_seconds": 10}})
    with pytest.raises(ConfigRejected, match="user otter: max_event_age_seconds: expected at least 23, got 10"):
        await put(world, {OTTER: {"decision_latency_ms": 20_000}})
    assert (await world.execute("SELECT count(*) FROM copy_sizing_config WHERE user_id IS NOT NULL"))[0][0] == 0


async def test_a_global_change_that_contradicts_a_users_row_is_refused_with_their_name(world: World) -> None:
    await put(world, {OTTER: {"decision_latency_ms": 60_000}})
    with pytest.raises(ConfigRejected, match="user otter: max_event_age_seconds: expected at least 63, got 30"):
        await put(world, {None: {"max_event_age_seconds": 30}})
    assert await put(world, {None: {"max_event_age_seconds": 30}, OTTER: {"decision_latency_ms": None}})


async def test_nothing_of_a_refused_change_is_written(world: World) -> None:
    with pytest.raises(ConfigRejected, match="user heron: copy_pct"):
        await put(world, {None: {"copy_pct": 2}, HERON: {"copy_pct": 0}})
    with pytest.raises(UnknownUserError, match="'nobody'"):
        await apply_config_file(world.database.url(), None, {"global": {"copy_pct": 2}, "users": {"nobody": {}}})
    assert await world.execute("SELECT 1 FROM copy_sizing_config UNION ALL SELECT 1 FROM audit_log") == []


async def test_a_null_and_what_a_replacement_leaves_out_are_inherited_again(world: World) -> None:
    await put(world, {None: {"copy_pct": 2}, OTTER: {"copy_pct": 3, "jitter_ms": 0}})
    (attempt,) = await decide(world, USER)
    assert attempt.target_notional_micros == usdc(30)
    assert await put(world, {OTTER: {"copy_pct": None}}) == [OTTER]
    (attempt,) = await decide(world, USER, age_s=3.9)
    assert attempt.target_notional_micros == usdc(20)
    assert await put(world, {OTTER: {"below_min": "SKIP"}}, replace=True) == [OTTER]
    async with transaction(world.database.engine("ui")) as connection:
        assert (await read_layers(connection)).values[OTTER] == {"below_min": "SKIP"}


async def test_unchanged_values_write_neither_rows_nor_audit_nor_versions(world: World) -> None:
    assert await put(world, {None: {"copy_pct": "2.0"}}) == [None]
    configs = world.replica(USER).configs
    assert await configs.merge() == 1
    assert await put(world, {None: {"copy_pct": "2.0"}}) == []
    assert await configs.merge() == 0
    audit = await world.execute("SELECT actor, detail FROM audit_log")
    assert [tuple(row) for row in audit] == [("admin", {"global": {"copy_pct": [None, "2.0"]}})]


async def test_of_two_writers_who_read_the_same_one_is_told_so(world: World) -> None:
    async with transaction(world.database.engine("ui")) as connection:
        etag = (await read_settings(connection, None)).etag
    results = await asyncio.gather(
        put(world, {None: {"copy_pct": 2}}, if_match=etag),
        put(world, {None: {"copy_pct": 3}}, if_match=etag),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in results) == ["ConfigConflictError", "list"]
    assert any(isinstance(each, ConfigConflictError) and "read it again" in str(each) for each in results)


async def test_writers_at_once_cannot_contradict_each_other_together(world: World) -> None:
    results = await asyncio.gather(
        put(world, {None: {"max_event_age_seconds": 30}}),
        put(world, {OTTER: {"decision_latency_ms": 60_000}}),
        return_exceptions=True,
    )
    assert sum(isinstance(each, ConfigRejected) for each in results) == 1


@pytest.mark.parametrize("values", ['{"copy_pct": 0}', '{"no_such": 1}', "[1]", "null", '{"market_blacklist": 5}'])
async def test_a_wrong_row_of_one_user_leaves_their_last_version_and_everybody_elses_changes(
    world: World, values: str
) -> None:
    await put(world, {OTTER: {"copy_pct": 3}})
    assert await world.replica(USER).configs.merge() == 1
    await set_by_hand(world, OTTER, values)
    await put(world, {None: {"copy_pct": 2}})
    configs = ConfigStore(world.database.engine("simulator"))
    for _ in range(2):  # the second look finds nothing new, and is as loud
        with pytest.raises(Rejected, match="user otter: "):
            await configs.merge()
    rules = await configs.current()
    assert (rules.of(OTTER).copy.floor_of(100), rules.of(HERON).copy.floor_of(100)) == (3, 2)
    await put(world, {OTTER: {"copy_pct": 4}}, replace=True)  # a replacement heals it
    assert await configs.merge() == 1


@pytest.mark.parametrize("values", ['{"max_spread_micros": -1}', '"text"'])
async def test_wrong_global_rows_leave_the_last_good_global_configuration(world: World, values: str) -> None:
    await put(world, {None: {"copy_pct": 2}})
    configs = world.replica(USER).configs
    await configs.merge()
    await set_by_hand(world, None, values)
    await set_by_hand(world, OTTER, '{"max_spread_micros": 5}')
    with pytest.raises(Rejected, match=r"^global: "):
        await configs.merge()
    rules = await configs.current()
    assert (rules.of(HERON).copy.floor_of(100), rules.of(OTTER).spread, rules.of(OTTER).copy.floor_of(100)) == (2, 5, 2)
    (attempt,) = await decide_as_is(world)
    assert attempt.decision == "EXECUTE"


async def decide_as_is(world: World) -> list[Any]:
    replica = world.replica(USER)
    await replica.hear(await world.close_group(user=HERON))
    await replica.decide_all()
    return await world.attempts(USER)


async def test_the_admin_sees_what_is_inherited_what_is_in_force_and_what_was(world: World) -> None:
    await put(world, {None: {"copy_pct": 2}, OTTER: {"user_max_trade_notional_micros": 3_000_000}})
    await world.replica(USER).configs.merge()
    async with transaction(world.database.engine("ui")) as connection:
        view = await read_settings(connection, OTTER)
        assert (view.user, view.own, view.inherited["copy_pct"]) == (
            "otter", {"user_max_trade_notional_micros": 3_000_000}, "2",
        )  # fmt: skip
        sources = [view.sources[name] for name in ("copy_pct", "user_max_trade_notional_micros", "jitter_ms")]
        assert sources == ["global", "user", "default"]
        assert view.in_force == view.values
        assert "nothing is copied" in view.remarks[0]
        plain = await read_settings(connection, HERON)
        everyone = await read_settings(connection, None)
        assert plain.version == everyone.version != view.version
        changes = await read_history(connection, None)
        assert [each.changes for each in changes] == [{"copy_pct": ["1", "2"]}, {}]
        assert len(await read_history(connection, everybody=True)) == 3
        with pytest.raises(UnknownUserError):
            await find_user(connection, "nobody")


# blacklist


async def test_a_blacklisted_market_is_not_opened_and_still_reduced(world: World) -> None:
    await world.hold(USER, OTTER, YES, "100", "50")
    assert await listed(world, CONDITION, None, True)
    buy = await decide(world, USER, GLOBAL)
    assert [each.reason_codes for each in buy] == [["MARKET_BLACKLISTED"]] * 2
    (sell,) = await decide(world, USER, age_s=3.9, side="SELL")
    assert sell.decision == "EXECUTE"
    stored = await world.execute("SELECT values FROM effective_config WHERE version = :v", v=buy[0].config_version)
    assert stored[0][0]["market_blacklist"] == [CONDITION]
    assert await listed(world, CONDITION, None, False)
    (again,) = await decide(world, USER, age_s=3.8)
    assert again.decision == "EXECUTE"
    audit = await world.execute("SELECT action, subject, detail ->> 'reason' FROM audit_log ORDER BY at")
    assert [tuple(row) for row in audit] == [
        ("blacklist.add", CONDITION, "because"), ("blacklist.remove", CONDITION, "because"),
    ]  # fmt: skip


async def test_taking_a_market_off_for_all_leaves_a_row_only_against_the_configuration(world: World) -> None:
    assert not await listed(world, CONDITION, None, False)
    await put(world, {OTTER: {"market_blacklist": [OTHER]}})
    for condition in (CONDITION, OTHER):
        assert await listed(world, condition, None, True)
        assert await listed(world, condition, None, False)
        assert not await listed(world, condition, None, False)
    async with world.database.engine().connect() as connection:
        assert [(each.condition_id, each.listed) for each in await read_blacklist(connection)] == [(OTHER, False)]


async def test_a_users_row_goes_before_the_one_for_all_and_both_before_the_configuration(world: World) -> None:
    await put(world, {None: {"market_blacklist": [CONDITION, OTHER]}})
    configs = world.replica(USER).configs

    async def rules_of(user: UUID) -> set[str]:
        await configs.merge()
        return set((await configs.current()).of(user).blacklist)

    assert await rules_of(OTTER) == {CONDITION, OTHER}
    await listed(world, CONDITION, None, False)
    await listed(world, OTHER, OTTER, False)
    assert (await rules_of(OTTER), await rules_of(HERON)) == (set(), {OTHER})
    await listed(world, CONDITION, HERON, True)
    assert (await rules_of(OTTER), await rules_of(HERON)) == (set(), {CONDITION, OTHER})
    await listed(world, OTHER, OTTER, None)
    assert await rules_of(OTTER) == {OTHER}
    assert not await listed(world, OTHER, OTTER, None)  # nothing changes, so nothing is written
    assert await configs.merge() == 0


async def test_a_market_is_found_by_id_slug_or_page(world: World) -> None:
    async with transaction(world.database.engine("ui")) as connection:
        for name in (CONDITION, CONDITION.upper().replace("X", "x"), "q", "https://polymarket.com/event/some-event/q/"):
            assert await find_condition(connection, name) == CONDITION
        assert await find_condition(connection, OTHER) == OTHER  # a market nobody traded yet
        for wrong in ("no-such-slug", "", "0x12", "https://polymarket.com/event/other"):
            with pytest.raises(Rejected, match="expected a condition id"):
                await find_condition(connection, wrong)


# switches


async def test_a_disabled_user_is_not_copied_from_the_next_decision_on(world: World) -> None:
    async def turn(enabled: bool) -> switches.Switch:
        async with transaction(world.database.engine("ui")) as connection:
            return await switches.set_enabled(connection, OTTER, "otter", enabled, "admin")

    assert (await turn(False)).on
    assert [each.reason_codes for each in await decide(world, USER, GLOBAL)] == [["USER_DISABLED"]] * 2
    (other,) = await decide(world, USER, user=HERON)
    assert other.decision == "EXECUTE"
    assert not (await turn(True)).on
    (attempt,) = await decide(world, USER, age_s=3.9)
    assert attempt.decision == "EXECUTE"
    audit = await world.execute("SELECT action, subject FROM audit_log ORDER BY at")
    assert [tuple(row) for row in audit] == [("user.disable", "otter"), ("user.enable", "otter")]


async def test_a_switch_written_by_hand_does_not_stop_deciding(world: World) -> None:
    await world.flag(switches.disabled_key(OTTER), {"disabled": "perhaps"})
    (attempt,) = await decide(world, USER)
    assert attempt.decision == "EXECUTE"


async def test_the_dashboard_may_write_intents_and_not_what_they_become(world: World) -> None:
    for statement in (
        "UPDATE portfolio SET drawdown_tripped = false",
        "UPDATE followed_user SET enabled = false",
        "INSERT INTO effective_config (scope, values, effective_at) VALUES ('GLOBAL', '{}', now())",
        "DELETE FROM market_blacklist",
    ):
        with pytest.raises(Exception, match="permission denied"):
            async with transaction(world.database.engine("ui")) as connection:
                await connection.execute(text(statement))
