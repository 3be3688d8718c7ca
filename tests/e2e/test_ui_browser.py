"""The dashboard as people meet it: a real process, a real browser, both themes, a desk and a phone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pytest
from axe_core_python.async_playwright import Axe
from playwright.async_api import Browser, expect
from sqlalchemy import text

from libs.common.db.engine import transaction
from tests.support.browser import DESK, PHONE, Cable, Dashboard, Visitor, beating, chromium_at, visit
from tests.support.databases import Database
from tests.support.seed_ui import USERS, Scene, seed

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

EVIL = "<img src=x onerror=alert(1)>"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PSS_MAX_BYTES = 190_000_000


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with chromium_at(chromium) as started:
        yield started


@pytest.fixture
def dashboard(database: Database, redis_url_for: Callable[[str], str], tmp_path: Path) -> Iterator[Dashboard]:
    """A dashboard that is not started yet."""
    made = Dashboard(database.url("ui"), database.url(), redis_url_for("ui"), tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        assert made.stop() == 0, made.log()


async def fill(database: Database, dashboard: Dashboard, scene: Scene, labels: tuple[str, ...] = USERS) -> None:
    """Write the books, then start the dashboard."""
    await seed(database.engine(), scene, datetime.now(UTC), labels)
    dashboard.start()


async def violations(visitor: Visitor) -> list[Any]:
    found = await Axe().run(visitor.page, options={"runOnly": RULES})
    return [(each["id"], [node["html"][:160] for node in each["nodes"]]) for each in found["violations"]]


async def assert_sound(visitor: Visitor, dashboard: Dashboard) -> None:
    """Nothing in the console, nobody else asked, nothing beyond the edge, nothing in anybody's way."""
    assert visitor.troubles == []
    assert visitor.hosts == {f"127.0.0.1:{dashboard.port}"}
    width, inner = await visitor.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner
    assert await violations(visitor) == []


async def test_a_month_of_copying_is_sound_in_both_themes_on_a_desk_and_a_phone(
    browser: Browser, dashboard: Dashboard, database: Database
) -> None:
    await fill(database, dashboard, "month")
    async with beating(database.engine()):
        for size, dark in product((DESK, PHONE), (False, True)):
            async with visit(browser, dark=dark, size=size) as visitor:
                await visitor.sign_in(dashboard)
                page = visitor.page
                await expect(page.get_by_text("+$412.36")).to_be_visible()
                await expect(page.get_by_text("Harbourmaster").first).to_be_visible()
                assert await page.locator(".sb-chart svg path").count() > 5
                assert await page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
                await assert_sound(visitor, dashboard)
    assert dashboard.process is not None
    assert psutil.Process(dashboard.process.pid).memory_full_info().pss < PSS_MAX_BYTES


@pytest.mark.parametrize("scene", ["empty", "watching", "minutes"])
async def test_the_first_minutes_are_sound_on_a_desk_and_a_phone(
    browser: Browser, dashboard: Dashboard, database: Database, scene: Scene
) -> None:
    await fill(database, dashboard, scene)
    words = {"empty": "Follow your first wallet", "watching": "Watching.", "minutes": "+$1.84"}
    async with beating(database.engine()):
        for size in (DESK, PHONE):
            async with visit(browser, size=size) as visitor:
                await visitor.sign_in(dashboard)
                await expect(visitor.page.get_by_text(words[scene]).first).to_be_visible()
                await assert_sound(visitor, dashboard)


async def test_a_link_signs_in_once_only(browser: Browser, dashboard: Dashboard, database: Database) -> None:
    await fill(database, dashboard, "empty")
    async with visit(browser) as visitor, visit(browser) as stranger:
        link = await dashboard.link()
        await visitor.page.goto(link)
        assert await violations(visitor) == []
        await visitor.page.get_by_role("button", name="Sign in").click()
        await visitor.page.wait_for_url(f"{dashboard.url}/")
        await stranger.page.goto(link)
        await expect(stranger.page.get_by_role("heading", name="This link does not work any more")).to_be_visible()
        assert await stranger.page.get_by_role("button", name="Sign in").count() == 0
        await stranger.page.goto(f"{dashboard.url}/")
        assert stranger.page.url.endswith("/login")
        assert link.split("token=")[1] not in dashboard.log()


async def test_pausing_is_shown_everywhere_and_outlives_the_dashboard(
    browser: Browser, dashboard: Dashboard, database: Database
) -> None:
    await fill(database, dashboard, "minutes")
    async with beating(database.engine()), visit(browser) as visitor, visit(browser) as other:
        await visitor.sign_in(dashboard)
        await other.sign_in(dashboard)
        await visitor.page.get_by_role("button", name="Pause copying").click()
        await expect(visitor.page.get_by_text("Copying is paused.")).to_be_visible()
        await expect(visitor.page.get_by_role("button", name="Resume copying")).to_be_visible()
        await expect(other.page.get_by_text("Copying is paused.")).to_be_visible(timeout=15_000)
        assert dashboard.stop() == 0
        dashboard.start()
        await visitor.page.goto(f"{dashboard.url}/")
        await visitor.settled()
        await expect(visitor.page.get_by_text("Copying is paused.")).to_be_visible()
        await visitor.page.get_by_role("button", name="Resume copying").click()
        await expect(visitor.page.get_by_role("button", name="Pause copying")).to_be_visible()
    async with transaction(database.engine()) as connection:
        flag = await connection.scalar(text("SELECT value FROM control_flag WHERE key = 'engine_paused'"))
    assert flag == {"paused": False}


async def test_stale_prices_dim_the_figures_and_change_the_answer(
    browser: Browser, dashboard: Dashboard, database: Database
) -> None:
    await fill(database, dashboard, "month")
    async with beating(database.engine(), marks_age=timedelta(minutes=6)), visit(browser) as visitor:
        await visitor.sign_in(dashboard)
        await expect(visitor.page.get_by_text("No: prices are stale")).to_be_visible(timeout=15_000)
        await expect(visitor.page.locator(".sb-panel.sb-stale .sb-chart")).to_be_visible()
        assert visitor.troubles == []


async def test_a_database_that_goes_leaves_the_last_figures_and_heals(
    browser: Browser, database: Database, redis_url_for: Callable[[str], str], tmp_path: Path
) -> None:
    await seed(database.engine(), "month", datetime.now(UTC))
    cable = Cable(database.url("ui"))
    await cable.plug_in()
    dashboard = Dashboard(cable.url, database.url(), redis_url_for("ui"), tmp_path)
    await asyncio.to_thread(dashboard.start)
    try:
        async with beating(database.engine()), visit(browser) as visitor:
            await visitor.sign_in(dashboard)
            await cable.pull()
            await expect(visitor.page.get_by_text("The database does not answer.")).to_be_visible(timeout=25_000)
            await expect(visitor.page.get_by_text("Disconnected")).to_be_visible()
            await expect(visitor.page.get_by_text("+$412.36")).to_be_visible()
            await visitor.page.get_by_role("button", name="Pause copying").click()
            await expect(visitor.page.get_by_text("Copying was not paused")).to_be_visible()
            await cable.plug_in()
            await expect(visitor.page.get_by_text("Yes, all of it")).to_be_visible(timeout=25_000)
            await expect(visitor.page.get_by_text("The database does not answer.")).to_be_hidden()
    finally:
        assert await asyncio.to_thread(dashboard.stop) == 0
        await cable.pull()


async def test_new_figures_arrive_by_themselves(browser: Browser, dashboard: Dashboard, database: Database) -> None:
    await fill(database, dashboard, "minutes")
    async with beating(database.engine()), visit(browser) as visitor:
        await visitor.sign_in(dashboard)
        async with transaction(database.engine()) as connection:
            await connection.execute(
                text(
                    "UPDATE portfolio_snapshot s SET equity_micros = equity_micros + 50000000 FROM portfolio p "
                    "WHERE p.id = s.portfolio_id AND p.scope = 'EXEC_GLOBAL' AND s.at = (SELECT max(at) "
                    "FROM portfolio_snapshot x WHERE x.portfolio_id = p.id)"
                )
            )
        await expect(visitor.page.get_by_text("+$51.84").first).to_be_visible(timeout=25_000)
        assert visitor.troubles == []


async def test_a_label_that_is_markup_is_only_text(browser: Browser, dashboard: Dashboard, database: Database) -> None:
    await fill(database, dashboard, "minutes", (EVIL, *USERS[1:]))
    dialogs: list[str] = []
    async with beating(database.engine()), visit(browser) as visitor:
        visitor.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        await visitor.sign_in(dashboard)
        await expect(visitor.page.get_by_text(EVIL).first).to_be_visible()
        assert await visitor.page.locator("img").count() == 0
        assert dialogs == []
        assert visitor.troubles == []


async def test_windows_and_theme_are_a_click_away(browser: Browser, dashboard: Dashboard, database: Database) -> None:
    await fill(database, dashboard, "month")
    async with beating(database.engine()), visit(browser) as visitor:
        await visitor.sign_in(dashboard)
        await visitor.page.get_by_role("link", name="7d", exact=True).click()
        await visitor.page.wait_for_url("**/?range=7d")
        await visitor.settled()
        assert await visitor.page.locator("nav [aria-current=true]").inner_text() == "7d"
        await visitor.page.get_by_role("button", name="Switch between light and dark").click()
        assert await visitor.page.evaluate("document.documentElement.dataset.theme") == "dark"
        await visitor.page.reload()
        await visitor.settled()
        assert await visitor.page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert visitor.troubles == []


async def test_a_phone_opens_the_navigation_and_escape_closes_it(
    browser: Browser, dashboard: Dashboard, database: Database
) -> None:
    await fill(database, dashboard, "minutes")
    async with beating(database.engine()), visit(browser, size=PHONE) as visitor:
        await visitor.sign_in(dashboard)
        link = visitor.page.get_by_role("link", name="API")
        await expect(link).to_be_hidden()
        await visitor.page.get_by_role("button", name="Open navigation").click()
        await expect(link).to_be_visible()
        assert await violations(visitor) == []
        await visitor.page.keyboard.press("Escape")
        await expect(link).to_be_hidden()


async def test_pages_that_do_not_exist_say_so_in_our_own_words(
    browser: Browser, dashboard: Dashboard, database: Database
) -> None:
    await fill(database, dashboard, "empty")
    async with visit(browser) as visitor:
        await visitor.sign_in(dashboard)
        answer = await visitor.page.goto(f"{dashboard.url}/users/7")
        assert answer is not None
        assert answer.status == 404
        await expect(visitor.page.get_by_role("heading", name="This page does not exist")).to_be_visible()
        await visitor.page.goto(f"{dashboard.url}/api/docs")
        assert await violations(visitor) == []
