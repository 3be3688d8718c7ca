"""The API of configuration tests over real rows, behind the real gate."""

from typing import Any
from uuid import UUID

import pytest

from services.simulator.config_test import work
from tests.integration.test_ui_api import RedisFor, door
from tests.support.databases import Database
from tests.support.simulator_world import World

pytestmark = pytest.mark.integration


async def test_a_draft_is_tested_on_request_and_called_off(database: Database, redis_url_for: RedisFor) -> None:
    world = World(database)
    await world.open()
    async with door(database, redis_url_for("ui")) as visitor:
        answer = await visitor.post("/api/config/test", json={"draft": {"copy_pct": 2.5}, "hours": 6})
        assert answer.status_code == 202
        path = f"/api/config/test/{answer.json()['id']}"
        run = (await visitor.get(path)).json()
        assert run["draft"] == {"global": {"copy_pct": "2.5"}, "users": {}}
        assert (run["state"], run["done"], run["total"], run["result"]) == ("QUEUED", 0, None, None)
        elsewhere = {"origin": "http://evil.example"}
        assert (await visitor.post(f"{path}/cancel", headers=elsewhere)).status_code == 403
        called_off = await visitor.post(f"{path}/cancel")
        assert called_off.json()["cancel_requested_at"] is not None
        await work(database.engine("simulator"), "worker")
        assert (await visitor.get(path)).json()["state"] == "CANCELLED"
        body = {"draft": {"copy_pct": 3}, "user": "otter", "hours": 744}
        answer = await visitor.post("/api/config/test", json=body)
        run = (await visitor.get(f"/api/config/test/{answer.json()['id']}")).json()
        assert (run["user_label"], run["draft"]["users"]) == ("otter", {"otter": {"copy_pct": "3"}})
        assert (await visitor.get(f"/api/config/test/{UUID(int=0)}")).status_code == 404
    rows = await world.execute("SELECT action FROM audit_log WHERE action LIKE 'config.test%' ORDER BY at")
    assert [row.action for row in rows] == ["config.test", "config.test.cancel", "config.test"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"draft": {"copy_pct": -1}}, "draft: global: copy_pct: expected greater than or equal to 0"),
        ({"draft": {"copy_percent": 1}}, "draft: copy_percent: unknown setting"),
        ({"draft": {"spread": 1.5}}, "max_spread_micros: expected a whole number, got 1.5"),
        ({"draft": {}, "user": "nobody"}, "nobody is followed as nobody"),
        ({"draft": {}, "hours": 2, "since": "2026-01-01T00:00:00Z"}, "expected either hours or since"),
        ({"draft": {}, "since": "2026-01-01T00:00:00"}, "since: expected a time with its zone"),
        ({"draft": {}, "since": "2999-01-01T00:00:00Z"}, "expected a range in the past"),
        ({"draft": {}, "hours": 10_000}, "less_than_equal"),
        ({"draft": []}, "dict_type"),
        ({"draft": {}, "what": 1}, "extra_forbidden"),
    ],
)
async def test_a_draft_that_is_not_valid_is_refused_by_the_name_of_its_field(
    database: Database, redis_url_for: RedisFor, body: dict[str, Any], said: str
) -> None:
    async with door(database, redis_url_for("ui")) as visitor:
        answer = await visitor.post("/api/config/test", json=body)
        assert answer.status_code == 422
        assert said in answer.text
    assert await World(database).execute("SELECT 1 FROM config_test_run") == []


async def test_without_a_session_nothing_is_tested(database: Database, redis_url_for: RedisFor) -> None:
    async with door(database, redis_url_for("ui"), signed_in=False) as visitor:
        assert (await visitor.post("/api/config/test", json={"draft": {}})).status_code == 401
        assert (await visitor.get(f"/api/config/test/{UUID(int=0)}")).status_code == 401
