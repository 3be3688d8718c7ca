"""Testing a configuration on what was recorded, on a real Postgres, under the roles that ask and answer."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from libs.common.domain.kinds import Decision, Scope
from services.simulator.config_test import work
from tests.support.databases import Database
from tests.support.recorded_world import SCOPES, RecordedWorld, buy, live

pytestmark = pytest.mark.integration


@pytest.fixture
async def world(database: Database) -> RecordedWorld:
    return RecordedWorld(database)


async def test_a_draft_that_is_what_ran_changes_nothing(world: RecordedWorld) -> None:
    since = await live(world)
    result = await world.tested({}, since)
    assert result.changed == []
    assert result.reconstruction_gaps == 0
    for compared in (*result.scopes, *result.portfolios):
        assert compared.ran == compared.draft
        assert compared.changed == 0
    by_scope = {each.scope: each for each in result.scopes}
    equities = await world.equities()
    for scope in SCOPES:
        rows = [each for each in await world.attempts(scope) if each.decided_at >= since]
        ran = by_scope[scope].ran
        assert ran.attempts == len(rows)
        assert ran.executed == sum(each.decision == "EXECUTE" for each in rows)
        assert ran.traded_notional_micros == sum(each.filled_notional_micros for each in rows)
        assert ran.fee_micros == sum(each.fee_micros for each in rows)
        assert ran.end_equity_micros == equities[scope]
        assert ran.net_flows_micros == (250_000_000 * (2 if scope is Scope.EXEC_USER else 1))
    reasons = set(by_scope[Scope.EXEC_GLOBAL].ran.skipped_by_reason)
    assert reasons >= {"BREAKER_DRAWDOWN", "MARKET_CLOSED", "NO_POSITION"}
