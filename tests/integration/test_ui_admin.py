"""REST of what the admin sets: configuration, blacklist, users, breakers; behind the gate, as the dashboard's role."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from libs.common.db.engine import transaction
from services.ui.queries.portfolio import read_figures
from services.ui.web import rest
from tests.integration.test_ui_api import RedisFor, door, rows, settings
from tests.support.databases import Database
from tests.support.decisions import CONDITION
from tests.support.simulator_world import HERON, OTTER, World

pytestmark = pytest.mark.integration
GLOBAL, USER = "/api/config/global", "/api/config/user/otter"


@pytest.fixture
async def admin(database: Database, redis_url_for: RedisFor) -> AsyncIterator[httpx.AsyncClient]:
    await World(database).open()
    async with door(database, redis_url_for("ui")) as visitor:
        yield visitor


def complaints(answer: httpx.Response) -> list[tuple[list[str], str]]:
    assert answer.status_code == 422, answer.text
    return [(each["loc"], each["msg"]) for each in answer.json()["detail"]]


WRITES: list[tuple[str, dict[str, Any]]] = [
    (GLOBAL, {"copy_pct": 2}),
    (f"/api/config/user/{OTTER}", {"copy_pct": 2}),
    (f"/api/markets/{CONDITION}/blacklist", {"blacklisted": True}),
    (f"/api/users/{OTTER}/enabled", {"enabled": False}),
    ("/api/control/breakers/reset", {"scope": "EXEC_GLOBAL"}),
]


@pytest.mark.parametrize(("path", "body"), WRITES)
async def test_a_write_wants_a_session_and_the_same_origin(
    database: Database, redis_url_for: RedisFor, path: str, body: dict[str, Any]
) -> None:
    await World(database).open()
    async with door(database, redis_url_for("ui"), signed_in=False) as stranger:
        assert (await stranger.post(path, json=body)).status_code == 401
    async with door(database, redis_url_for("ui")) as visitor:
        answer = await visitor.post(path, json=body, headers={"origin": "http://evil.example"})
        assert answer.status_code == 403
        assert await rows(database, "SELECT 1 FROM audit_log") == []
        assert (await visitor.post(path, json=body, headers={"origin": str(visitor.base_url)})).status_code == 200
    assert len(await rows(database, "SELECT 1 FROM audit_log WHERE actor = 'admin'")) == 1


async def test_what_is_inherited_is_shown_and_what_is_taken_back_is_inherited_again(admin: httpx.AsyncClient) -> None:
    assert (await admin.post(GLOBAL, json={"copy_pct": "0.5", "bankroll_micros": 5_000_000_000})).status_code == 200
    view = (await admin.post(USER, json={"MAX_SPREAD": 30_000, "copy_pct": 3})).json()
    assert view["own"] == {"max_spread_micros": 30_000, "copy_pct": "3"}
    assert (view["inherited"]["copy_pct"], view["values"]["copy_pct"]) == ("0.5", "3")
    view = (await admin.post(USER, json={"copy_pct": None})).json()
    assert (view["values"]["copy_pct"], view["sources"]["copy_pct"]) == ("0.5", "global")
    view = (await admin.post(f"/api/config/user/{OTTER}?replace=true", json={})).json()
    assert (view["own"], view) == ({}, (await admin.get(USER)).json())
    everyone = (await admin.get(GLOBAL)).json()
    assert (everyone["bankroll_micros"], everyone["sources"]["jitter_ms"]) == (5_000_000_000, "default")


async def test_a_refusal_names_each_field(admin: httpx.AsyncClient) -> None:
    answer = await admin.post(GLOBAL, json={"copy_pct": 0, "below_min": "MAYBE"})
    assert complaints(answer) == [
        (["body", "copy_pct"], "expected greater than 0, got 0"),
        (["body", "below_min"], "expected 'CLAMP_UP' or 'SKIP', got 'MAYBE'"),
    ]
    assert complaints(await admin.post(USER, json={"copy": 1}))[0][0] == ["body", "copy"]
    assert complaints(await admin.post(GLOBAL, json={"bankroll_micros": 1.5}))[0][0] == ["body", "bankroll_micros"]
    assert complaints(await admin.post(USER, json={"bankroll_micros": 1}))[0][0] == ["body", "bankroll_micros"]
    assert (await admin.post(GLOBAL, json=[1])).status_code == 422
    assert (await admin.post("/api/config/user/nobody", json={})).status_code == 404
    assert (await admin.get("/api/config/user/nobody")).status_code == 404


async def test_a_global_change_refused_for_a_users_sake_says_whose(admin: httpx.AsyncClient) -> None:
    assert (await admin.post(USER, json={"decision_latency_ms": 60_000})).status_code == 200
    answer = await admin.post(GLOBAL, json={"max_event_age_seconds": 30})
    assert complaints(answer)[0][0] == ["body", "max_event_age_seconds"]
    assert answer.json()["detail"][0]["ctx"] == {"where": "user otter"}


async def test_an_old_etag_is_refused(admin: httpx.AsyncClient) -> None:
    etag = (await admin.get(GLOBAL)).headers["etag"]
    first = await admin.post(GLOBAL, json={"copy_pct": 2}, headers={"if-match": etag})
    assert first.status_code == 200
    assert first.headers["etag"] != etag
    late = await admin.post(GLOBAL, json={"copy_pct": 3}, headers={"if-match": etag})
    assert late.status_code == 412
    assert (await admin.get(GLOBAL)).json()["values"]["copy_pct"] == "2"


async def test_the_blacklist_toggle_sets_and_takes_back(admin: httpx.AsyncClient, database: Database) -> None:
    path = f"/api/markets/{CONDITION}/blacklist"
    done = (await admin.post(path, json={"blacklisted": True, "reason": "looks rigged"})).json()
    assert done == {"condition_id": CONDITION, "user": None, "blacklisted": True, "changed": True}
    assert not (await admin.post(path, json={"blacklisted": True})).json()["changed"]
    assert (await admin.post(path, json={"blacklisted": False, "user": "heron"})).status_code == 200
    listed = (await admin.get("/api/blacklist")).json()
    assert [(each["user"], each["listed"], each["reason"], each["slug"]) for each in listed] == [
        ("heron", False, "", "q"), (None, True, "looks rigged", "q"),
    ]  # fmt: skip
    assert (await admin.post(path, json={"blacklisted": None, "user": str(HERON)})).json()["changed"]
    assert len((await admin.get("/api/blacklist")).json()) == 1
    assert (await admin.post("/api/markets/no-such/blacklist", json={"blacklisted": True})).status_code == 422
    assert (await admin.post(path, json={"blacklisted": "yes"})).status_code == 422
    assert (await admin.post(path, json={"blacklisted": True, "user": "nobody"})).status_code == 404
    actions = await rows(database, "SELECT action FROM audit_log ORDER BY at")
    assert [row.action for row in actions] == ["blacklist.add", "blacklist.allow", "blacklist.remove"]


async def test_users_and_breakers_are_switched(database: Database, redis_url_for: RedisFor) -> None:
    await World(database).open()
    told: list[str] = []
    async with door(database, redis_url_for("ui"), told=told) as admin:
        off = (await admin.post("/api/users/otter/enabled", json={"enabled": False})).json()
        assert (off["enabled"], off["by"]) == (False, "admin")
        users = {
            each["label"]: each for each in (await admin.get("/api/overview")).json()["overview"]["facts"]["people"]
        }
        assert (users["otter"]["is_copied"], users["heron"]["is_copied"]) == (False, True)
        assert (await admin.post("/api/users/nobody/enabled", json={"enabled": True})).status_code == 404
        by_user = (await admin.post("/api/control/breakers/reset", json={"scope": "EXEC_USER", "user": "otter"})).json()
        by_id = await admin.post("/api/control/breakers/reset", json={"portfolio_id": by_user["portfolio_id"]})
        assert (by_id.json()["peak_equity_micros"], by_user["user"]) == (10_000_000_000, "otter")
        for wrong in ({}, {"scope": "EXEC_USER"}, {"scope": "SHADOW_USER", "user": "otter"},
                      {"scope": "EXEC_GLOBAL", "user": "otter"}, {"portfolio_id": str(OTTER)}):  # fmt: skip
            assert (await admin.post("/api/control/breakers/reset", json=wrong)).status_code == 422, wrong
    reset = f"breaker_reset:{by_user['portfolio_id']}"
    assert told == [f"user_disabled:{OTTER}", reset, reset]


async def test_the_simulators_are_told_whose_configuration_changed(database: Database, redis_url_for: RedisFor) -> None:
    from services.ui.auth import Sessions
    from services.ui.queries.board import Board

    await World(database).open()
    own, told = settings(database, redis_url_for("ui")), []
    sessions, engine = Sessions(own), database.engine("ui")

    async def announce(key: str) -> None:
        raise AssertionError(key)

    async def announce_config(user: Any) -> None:
        told.append(user)

    app = rest(own, sessions, engine, Board(engine, redis_url_for("ui")), announce, announce_config)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
        for _ in range(2):  # the second changes nothing
            await client.post(GLOBAL, json={"copy_pct": 2})
            await client.post(USER, json={"copy_pct": 3})
            await client.post(f"/api/markets/{CONDITION}/blacklist", json={"blacklisted": True, "user": "heron"})
    assert told == [None, OTTER, HERON]


async def test_a_reset_shows_before_the_next_decision(admin: httpx.AsyncClient, database: Database) -> None:
    await rows(
        database,
        "UPDATE portfolio SET drawdown_tripped = true, peak_equity_micros = 20000000000"
        " WHERE scope = 'EXEC_GLOBAL' RETURNING id",
    )

    async def shown() -> tuple[bool, int]:
        async with transaction(database.engine("ui")) as connection:
            figures = await read_figures(connection, datetime.now(UTC))
        assert figures is not None
        return figures.drawdown_tripped, figures.peak_equity_micros

    assert await shown() == (True, 20_000_000_000)
    assert (await admin.post("/api/control/breakers/reset", json={"scope": "EXEC_GLOBAL"})).status_code == 200
    assert await shown() == (False, 10_000_000_000)
