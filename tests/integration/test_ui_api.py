"""The API and login over real rows, behind the real gate, without a browser."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.checkpoints import save_checkpoint
from libs.common.db.engine import make_engine, transaction
from services.ui.auth import Sessions
from services.ui.commands import new_login_link
from services.ui.gate import Gate
from services.ui.parts import tables
from services.ui.queries.board import Board
from services.ui.queries.portfolio import Holding
from services.ui.settings import Settings
from services.ui.web import rest
from tests.support.databases import Database
from tests.support.seed_ui import Scene, seed

pytestmark = pytest.mark.integration

PORT = 8787
URL = f"http://127.0.0.1:{PORT}"
RedisFor = Callable[[str], str]


def settings(database: Database, redis_url: str, **more: Any) -> Settings:
    values = {
        "database_url": database.url("ui"),
        "redis_url": redis_url,
        "instance": "ui-0",
        "http_port": 1,
        "port": PORT,
        "storage_secret": "s" * 32,
    }
    return Settings.model_validate(values | more)


@asynccontextmanager
async def door(
    database: Database,
    redis_url: str,
    *,
    client: tuple[str, int] = ("127.0.0.1", 50_000),
    engine: AsyncEngine | None = None,
    signed_in: bool = True,
    told: list[str] | None = None,
    public_url: str | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """The web application without pages, as the dashboard's own role."""
    own = settings(database, redis_url, PUBLIC_URL=public_url)
    sessions = Sessions(own)

    async def announce(key: str) -> None:
        if told is not None:
            told.append(key)

    engine = engine or database.engine("ui")
    app = Gate(rest(own, sessions, engine, Board(engine, redis_url), announce), own, sessions)
    transport = httpx.ASGITransport(app=app, client=client, raise_app_exceptions=False)
    cookies = {sessions.cookie: sessions.begin()} if signed_in else {}
    async with httpx.AsyncClient(transport=transport, base_url=URL, cookies=cookies) as visitor:
        yield visitor


async def fill(database: Database, scene: Scene, labels: tuple[str, ...] | None = None) -> None:
    now = datetime.now(UTC)
    if labels is None:
        await seed(database.engine(), scene, now)
    else:
        await seed(database.engine(), scene, now, labels)


async def rows(database: Database, query: str) -> list[Any]:
    async with transaction(database.engine()) as connection:
        return list((await connection.execute(text(query))).all())


# who may


async def test_everything_but_health_and_login_wants_a_session(database: Database, redis_url_for: RedisFor) -> None:
    async with door(database, redis_url_for("ui"), signed_in=False) as visitor:
        assert (await visitor.get("/api/overview")).status_code == 401
        assert (await visitor.get("/api/docs")).status_code == 401
        assert (await visitor.post("/api/control/pause", json={"paused": True})).status_code == 401
        assert (await visitor.get("/")).headers["location"] == "/login"
        assert (await visitor.get("/_nicegui/x")).status_code == 401
        assert (await visitor.get("/login")).status_code == 200


async def test_health_tells_strangers_one_word_and_the_admin_all(database: Database, redis_url_for: RedisFor) -> None:
    await fill(database, "month")
    async with door(database, redis_url_for("ui"), signed_in=False) as visitor:
        assert set((await visitor.get("/api/health")).json()) == {"status"}
    async with door(database, redis_url_for("ui")) as admin:
        answer = (await admin.get("/api/health")).json()
        assert answer["verdict"]["lines"]
        assert answer["facts"]["processes"]


async def test_a_request_by_a_strange_name_is_not_answered(database: Database, redis_url_for: RedisFor) -> None:
    async with door(database, redis_url_for("ui")) as visitor:
        answer = await visitor.get("/api/overview", headers={"host": "evil.example:8787"})
        assert answer.status_code == 421


async def test_a_write_from_another_origin_is_refused(database: Database, redis_url_for: RedisFor) -> None:
    async with door(database, redis_url_for("ui")) as visitor:
        for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
            answer = await visitor.post("/api/control/pause", json={"paused": True}, headers=headers)
            assert answer.status_code == 403
    assert await rows(database, "SELECT key FROM control_flag") == []


async def test_a_socket_from_another_origin_is_closed(database: Database, redis_url_for: RedisFor) -> None:
    own = settings(database, redis_url_for("ui"))
    sessions = Sessions(own)
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append("let in")

    async def connect(cookie: str, origin: bytes) -> str:
        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            heard.append(message["type"])

        headers = [(b"host", f"127.0.0.1:{PORT}".encode()), (b"origin", origin)]
        headers.append((b"cookie", f"{sessions.cookie}={cookie}".encode()))
        await Gate(app, own, sessions)({"type": "websocket", "path": "/x", "headers": headers}, receive, send)
        return heard.pop()

    assert await connect(sessions.begin(), URL.encode()) == "let in"
    assert await connect(sessions.begin(), b"http://evil.example") == "websocket.close"
    assert await connect("nonsense", URL.encode()) == "websocket.close"


async def test_every_answer_carries_the_policy(database: Database, redis_url_for: RedisFor) -> None:
    async with door(database, redis_url_for("ui")) as visitor:
        for path in ("/login", "/api/health", "/nothing"):
            headers = (await visitor.get(path)).headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"


# login


async def test_a_link_works_once_and_leaves_an_audit_row(database: Database, redis_url_for: RedisFor) -> None:
    link = await new_login_link(database.url(), URL)
    token = link.split("token=")[1]
    async with door(database, redis_url_for("ui"), signed_in=False) as visitor:
        for _ in range(2):
            page = await visitor.get(link)
            assert "Sign in" in page.text
        first = await visitor.post("/login", data={"token": token})
        assert first.status_code == 303
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        visitor.cookies.clear()
        assert (await visitor.post("/login", data={"token": token})).status_code == 403
        assert (await visitor.get(link)).status_code == 403
    kept = await rows(database, "SELECT actor, action FROM audit_log")
    assert [tuple(row) for row in kept] == [("admin", "login")]


async def test_a_link_survives_a_restart_and_a_session_too(database: Database, redis_url_for: RedisFor) -> None:
    token = (await new_login_link(database.url(), URL)).split("token=")[1]
    async with door(database, redis_url_for("ui"), signed_in=False) as visitor:
        answer = await visitor.post("/login", data={"token": token})
        name, value = re.match(r"([^=]+)=([^;]+)", answer.headers["set-cookie"]).groups()  # type: ignore[union-attr]
    async with door(database, redis_url_for("ui"), signed_in=False) as after:
        after.cookies.set(name, value)
        assert (await after.get("/api/overview")).status_code == 200


async def test_an_old_link_is_refused(database: Database, redis_url_for: RedisFor) -> None:
    token = (await new_login_link(database.url(), URL)).split("token=")[1]
    async with transaction(database.engine()) as connection:
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        await connection.execute(
            text("UPDATE system_checkpoint SET value = jsonb_build_object('expires_at', CAST(:past AS text))"),
            {"past": past},
        )
    async with door(database, redis_url_for("ui"), signed_in=False) as visitor:
        assert (await visitor.post("/login", data={"token": token})).status_code == 403
    await new_login_link(database.url(), URL)
    assert len(await rows(database, "SELECT key FROM system_checkpoint WHERE key LIKE 'login:%'")) == 1


async def test_the_token_itself_is_nowhere_in_the_database(database: Database) -> None:
    token = (await new_login_link(database.url(), URL)).split("token=")[1]
    kept = await rows(database, "SELECT key, value::text FROM system_checkpoint")
    assert len(kept) == 1
    assert not any(token in str(row) for row in kept)


@pytest.mark.parametrize(
    ("client", "headers", "public_url"),
    [
        (("10.0.0.5", 1), {}, None),
        (("127.0.0.1", 1), {"x-forwarded-for": "1.2.3.4"}, None),
        (("127.0.0.1", 1), {}, "https://book.example.org"),
    ],
)
async def test_links_are_refused_where_somebody_is_in_between(
    database: Database,
    redis_url_for: RedisFor,
    client: tuple[str, int],
    headers: dict[str, str],
    public_url: str | None,
) -> None:
    link = await new_login_link(database.url(), URL)
    async with door(database, redis_url_for("ui"), client=client, signed_in=False, public_url=public_url) as visitor:
        assert (await visitor.get(link, headers=headers)).status_code == 403
        answer = await visitor.post("/login", data={"token": link.split("token=")[1]}, headers=headers)
        assert answer.status_code == 403
    assert len(await rows(database, "SELECT key FROM system_checkpoint WHERE key LIKE 'login:%'")) == 1


async def test_garbage_is_no_token(database: Database, redis_url_for: RedisFor) -> None:
    async with door(database, redis_url_for("ui"), signed_in=False) as visitor:
        for body in (b"", b"token=", b"token=" + b"x" * 65, b"token=" + b"x" * 5000, b"\xff\xfe", b"token=%00%00"):
            assert (await visitor.post("/login", content=body)).status_code == 403


async def test_signing_out_ends_the_session(database: Database, redis_url_for: RedisFor) -> None:
    async with door(database, redis_url_for("ui")) as admin:
        answer = await admin.post("/logout")
        assert answer.headers["location"] == "/login"
        assert "Max-Age=0" in answer.headers["set-cookie"]


# pause


async def test_pausing_writes_the_switch_the_simulator_reads(database: Database, redis_url_for: RedisFor) -> None:
    told: list[str] = []
    async with door(database, redis_url_for("ui"), told=told) as admin:
        answer = await admin.post("/api/control/pause", json={"paused": True})
        assert answer.json()["paused"] is True
        again = await admin.post("/api/control/pause", json={"paused": True})
        assert again.json()["since"] == answer.json()["since"]
        assert (await admin.get("/api/overview")).json()["overview"]["facts"]["control"]["paused"] is True
        await admin.post("/api/control/pause", json={"paused": False})
    flag = await rows(database, "SELECT value, updated_by FROM control_flag WHERE key = 'engine_paused'")
    assert [tuple(row) for row in flag] == [({"paused": False}, "admin")]
    actions = await rows(database, "SELECT action FROM audit_log ORDER BY at")
    assert [row.action for row in actions] == ["control.pause", "control.resume"]
    assert told == ["engine_paused"] * 3


@pytest.mark.parametrize("body", [{}, {"paused": "yes"}, {"paused": 1}, {"paused": None}, {"paused": True, "x": 1}, []])
async def test_a_wish_that_is_not_one_is_refused(database: Database, redis_url_for: RedisFor, body: object) -> None:
    async with door(database, redis_url_for("ui")) as admin:
        assert (await admin.post("/api/control/pause", json=body)).status_code == 422
    assert await rows(database, "SELECT key FROM control_flag") == []


# overview


async def test_the_overview_of_nobody_followed_is_empty(database: Database, redis_url_for: RedisFor) -> None:
    async with door(database, redis_url_for("ui")) as admin:
        answer = (await admin.get("/api/overview")).json()
    assert answer["curve"] is None
    assert answer["overview"]["facts"]["people"] == []
    assert answer["overview"]["facts"]["figures"] is None


async def test_the_overview_adds_up(database: Database, redis_url_for: RedisFor) -> None:
    await fill(database, "month")
    async with door(database, redis_url_for("ui")) as admin:
        answer = (await admin.get("/api/overview")).json()
    facts, slow = answer["overview"]["facts"], answer["overview"]["slow"]
    figures = facts["figures"]
    assert figures["pnl_micros"] == 412_360_000
    assert figures["equity_micros"] - figures["deposits_micros"] == figures["pnl_micros"]
    gap = facts["gap"]
    assert gap["theirs_micros"] == sum(person["shadow_micros"] // 100 for person in facts["people"])
    assert gap["ours_micros"] == sum(person["ours_micros"] for person in facts["people"])
    assert slow["win_rate"] == {"closed": 14, "won": 7}
    assert slow["reasons"]["decisions"] == 222
    assert {row["reason"]: row["skips"] for row in slow["reasons"]["skips"]}["SPREAD_TOO_WIDE"] == 38
    effects = {row["reason"]: row["effect_micros"] for row in slow["reasons"]["skips"]}
    assert effects["SPREAD_TOO_WIDE"] == pytest.approx(-38 * 120_000, abs=200)
    assert effects["WORSE_THAN_THEIR_PRICE"] == pytest.approx(21 * 90_000, abs=200)
    limits = {use["name"]: use for use in facts["limits"]}
    assert limits["Largest market"]["of"].startswith("ECB")
    assert limits["Largest user"]["of"] == "Harbourmaster"
    assert limits["Largest market"]["limit_pct"] == "5"
    assert len(facts["latest"]) == 8


async def test_a_position_without_a_price_shows_how_old_its_last_one_is(
    database: Database, redis_url_for: RedisFor
) -> None:
    await fill(database, "month")
    async with door(database, redis_url_for("ui")) as admin:
        before = (await admin.get("/api/overview")).json()["overview"]["facts"]
    oldest, *others = [each["asset_id"] for each in before["holdings"]]
    assert not any(each["is_stale"] for each in before["holdings"])
    async with transaction(database.engine("pricer")) as connection:
        marking = {"completed_at": datetime.now(UTC).isoformat(), "assets": 7, "unmarked": [oldest, "77"]}
        await save_checkpoint(connection, "pricer", "marking", marking)
    async with door(database, redis_url_for("ui")) as admin:  # another board, which has read nothing yet
        facts = (await admin.get("/api/overview")).json()["overview"]["facts"]
    stale = {each["asset_id"]: each["is_stale"] for each in facts["holdings"]}
    assert stale == {oldest: True, **dict.fromkeys(others, False)}
    assert facts["health"]["unmarked"] == 2
    assert facts["verdict"]["lines"][4]["name"] == "Prices, 2 old"
    held = [Holding.model_validate(each) for each in facts["holdings"]]
    page = tables.markets(SimpleNamespace(holdings=held, closed=[]), datetime.now(UTC))  # type: ignore[arg-type]
    assert page.count(" old</time>") == 1


@pytest.mark.parametrize("wanted", ["1h", "1d", "7d", "30d", "all"])
async def test_a_curve_is_bounded_in_order_and_ends_at_the_figure(
    database: Database, redis_url_for: RedisFor, wanted: str
) -> None:
    await fill(database, "month")
    async with door(database, redis_url_for("ui")) as admin:
        answer = (await admin.get("/api/overview", params={"range": wanted})).json()
    curve = answer["curve"]
    moments = [point["at"] for point in curve["points"]]
    assert moments == sorted(moments)
    assert len(curve["points"]) + len(curve["shadows"]) <= 800
    assert curve["points"][-1]["equity_micros"] == answer["overview"]["facts"]["figures"]["equity_micros"]
    gap = answer["overview"]["facts"]["gap"]
    assert curve["shadows"][-1]["pnl_micros"] == pytest.approx(gap["theirs_micros"], abs=10)


async def test_a_deposit_lifts_the_curve_and_the_shadows_beside_it_from_then_on_only(
    database: Database, redis_url_for: RedisFor
) -> None:
    await fill(database, "month")
    async with transaction(database.engine()) as connection:
        await connection.execute(
            text(
                "UPDATE portfolio_snapshot SET deposits_micros = deposits_micros + 500000000,"
                " cash_micros = cash_micros + 500000000, equity_micros = equity_micros + 500000000 "
                "WHERE at >= :at AND portfolio_id = (SELECT id FROM portfolio WHERE scope = 'EXEC_GLOBAL')"
            ),
            {"at": datetime.now(UTC) - timedelta(days=3)},
        )
        await connection.execute(
            text(
                "UPDATE portfolio SET deposits_micros = deposits_micros + 500000000,"
                " cash_micros = cash_micros + 500000000 WHERE scope = 'EXEC_GLOBAL'"
            )
        )
    async with door(database, redis_url_for("ui")) as admin:
        curve = (await admin.get("/api/overview", params={"range": "all"})).json()["curve"]
    for line in (curve["points"], curve["shadows"]):
        given = [point["equity_micros"] - point["pnl_micros"] for point in line]
        assert given[0] == 10_000_000_000
        assert given[-1] == 10_500_000_000
        assert given == sorted(given)
        assert len(set(given)) == 2


async def test_a_young_curve_starts_at_its_opening_with_the_bankroll(
    database: Database, redis_url_for: RedisFor
) -> None:
    await fill(database, "minutes")
    async with door(database, redis_url_for("ui")) as admin:
        answer = (await admin.get("/api/overview")).json()
    curve, opened = answer["curve"], answer["overview"]["facts"]["figures"]["opened_at"]
    assert curve["range"] == "1h"
    assert curve["points"][0]["at"] == opened
    assert curve["points"][0]["equity_micros"] == 10_000_000_000
    assert len(curve["points"]) >= 5


async def test_coverage_tells_what_was_looked_at_and_refuses_what_it_does_not_know(
    database: Database, redis_url_for: RedisFor
) -> None:
    await fill(database, "minutes")
    async with door(database, redis_url_for("ui")) as admin:
        answer = (await admin.get("/api/coverage", params={"hours": 1})).json()
        assert answer["complete"] is False  # these books were written by nobody who was looking
        assert {"user", "day", "answer", "fills", "both", "only_chain", "only_api"} <= set(answer["days"][0])
        assert {gap["status"] for gap in answer["gaps"]} == {"UNHEALED"}
        assert {"from", "to", "healed_at", "late_seconds"} <= set(answer["gaps"][0])
        for wrong in ({"hours": 0}, {"hours": "x"}, {"hours": 10_000}, {"user": "nobody"}):
            assert (await admin.get("/api/coverage", params=wrong)).status_code == 422
    async with door(database, redis_url_for("ui"), signed_in=False) as visitor:
        assert (await visitor.get("/api/coverage")).status_code == 401


async def test_the_gap_is_split_to_the_micro_and_an_unknown_user_refused(
    database: Database, redis_url_for: RedisFor
) -> None:
    await fill(database, "minutes")
    async with door(database, redis_url_for("ui")) as admin:
        gaps = (await admin.get("/api/gap")).json()
        assert gaps
        for each in gaps:
            parts = ("drift_micros", "spread_and_depth_micros", "fees_micros", "openings_micros", "residual_micros")
            assert each["gap_micros"] == sum(each["size_micros"].values()) + sum(each[name] for name in parts)
        assert (await admin.get("/api/gap", params={"user": gaps[0]["user"], "hours": 1})).json()[0]["since"]
        for wrong in ({"hours": 0}, {"user": "nobody"}):
            assert (await admin.get("/api/gap", params=wrong)).status_code == 422
    async with door(database, redis_url_for("ui"), signed_in=False) as visitor:
        assert (await visitor.get("/api/gap")).status_code == 401


async def test_skips_tell_what_reasons_saved_or_cost_and_refuse_what_they_do_not_know(
    database: Database, redis_url_for: RedisFor
) -> None:
    await fill(database, "minutes")
    async with door(database, redis_url_for("ui")) as admin:
        answer = (await admin.get("/api/skips", params={"scope": "EXEC_GLOBAL"})).json()
        (scope,) = answer["scopes"]
        assert scope["scope"] == "EXEC_GLOBAL"
        assert scope["total"]["skips"] == scope["total"]["with_book"] + scope["total"]["no_book"] > 0
        assert {"reason", "skips", "unmarked", "notional_micros", "fee_micros", "pnl_micros"} <= set(
            scope["reasons"][0]
        )
        since = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        later = (await admin.get("/api/skips", params={"since": since})).json()
        assert [each["total"]["skips"] for each in later["scopes"]] == [0, 0]
        for wrong in ({"user": "nobody"}, {"since": "x"}, {"since": "2026-09-28T12:00"}, {"scope": "SHADOW_USER"}):
            assert (await admin.get("/api/skips", params=wrong)).status_code == 422, wrong
    async with door(database, redis_url_for("ui"), signed_in=False) as visitor:
        assert (await visitor.get("/api/skips")).status_code == 401


async def test_an_unknown_window_is_refused(database: Database, redis_url_for: RedisFor) -> None:
    async with door(database, redis_url_for("ui")) as admin:
        assert (await admin.get("/api/overview", params={"range": "2y"})).status_code == 422


async def test_a_bus_that_is_away_breaks_neither_figures_nor_pausing(database: Database) -> None:
    await fill(database, "minutes")
    async with door(database, "redis://ui:x@127.0.0.1:1/0") as admin:
        answer = (await admin.get("/api/overview")).json()
        assert answer["overview"]["facts"]["verdict"]["problem"] == "message bus away"
        assert (await admin.post("/api/control/pause", json={"paused": True})).status_code == 200


async def test_a_database_that_is_away_is_said_and_nothing_else(database: Database, redis_url_for: RedisFor) -> None:
    engine = make_engine("postgresql://shadowbook_ui:x@127.0.0.1:1/none", application="test-away")
    try:
        async with door(database, redis_url_for("ui"), engine=engine) as admin:
            health = await admin.get("/api/health")
            assert (health.status_code, health.json()) == (503, {"status": "down"})
            answer = await admin.get("/api/overview")
            assert answer.status_code == 503
            assert "127.0.0.1:1" not in answer.text
            assert (await admin.post("/api/control/pause", json={"paused": True})).status_code == 503
            assert (await admin.get("/login?token=abc")).status_code == 503
    finally:
        await engine.dispose()


async def test_the_description_names_every_route_and_fetches_nothing(
    database: Database, redis_url_for: RedisFor
) -> None:
    async with door(database, redis_url_for("ui")) as admin:
        page = (await admin.get("/api/docs")).text
        paths = (await admin.get("/api/openapi.json")).json()["paths"]
    assert set(paths) == {
            "/api/health", "/api/overview", "/api/control/pause", "/api/control/breakers/reset", "/api/coverage",
            "/api/gap", "/api/skips", "/api/config/test", "/api/config/test/{run_id}",
            "/api/config/test/{run_id}/cancel",
            "/api/config/global", "/api/config/user/{id}", "/api/users/{id}/enabled", "/api/blacklist",
            "/api/markets/{condition_id}/blacklist",
        }  # fmt: skip
    assert all(path in page for path in paths)
    assert re.findall(r'(?:src|href)="(?:https?:)?//', page) == []


async def test_the_dashboards_role_can_read_everything_and_write_only_wishes(database: Database) -> None:
    async with transaction(database.engine("ui")) as connection:
        await connection.execute(text("SELECT * FROM portfolio"))
    for statement in ("DELETE FROM ledger_entry", "UPDATE portfolio SET cash_micros = 1", "DELETE FROM audit_log"):
        with pytest.raises(Exception, match="permission denied"):
            async with transaction(database.engine("ui")) as connection:
                await connection.execute(text(statement))
