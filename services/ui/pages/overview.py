"""The overview: three answers, the global curve, limits, users, markets, decisions."""

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response
from nicegui import ui

from libs.common.domain.errors import Unavailable
from services.ui.pages.errors import away_page
from services.ui.parts import charts
from services.ui.parts.answers import shares
from services.ui.parts.html import empty, esc
from services.ui.parts.icons import icon
from services.ui.parts.overview import blocks, equity_head, equity_label, first_run, status_block, today_curve
from services.ui.parts.shell import shell
from services.ui.queries.board import Board, Seen
from services.ui.queries.curve import RANGES, Curve, Range, smallest_range
from services.ui.queries.overview import Overview

_AGES: Final = re.compile(r"(<time[^>]*>)[^<]*")
_LAYOUT: Final = (
    ("money", "sb-panel sb-ans sb-c4"),
    ("why", "sb-panel sb-ans sb-c4"),
    ("working", "sb-panel sb-ans sb-c4"),
    ("equity", "sb-panel sb-c8"),
    ("limits", "sb-panel sb-c4 sb-limp"),
    ("users", "sb-panel sb-c6"),
    ("markets", "sb-panel sb-c6"),
    ("decisions", "sb-panel sb-c8"),
    ("skips", "sb-panel sb-c4"),
    ("programs", "sb-panel sb-c12"),
)


class OverviewPage:
    """One open overview: what its blocks hold, so that only what changed is sent."""

    def __init__(self, board: Board, wanted: Range | None) -> None:
        self._board = board
        self._wanted = wanted
        self._blocks: dict[str, Any] = {}
        self._sent: dict[str, str] = {}
        self._chart: Any = None
        self._panel: Any = None
        self._points: object = None
        self._is_first_run = False

    async def build(self) -> None:
        """Fill the page; raises Unavailable when nothing is known."""
        now = datetime.now(UTC)
        seen = await self._board.overview()
        curve = await self._curve(seen, now)
        status = status_block(seen, now)
        self._sent["status"] = _without_ages(status)
        ui.page_title("Overview · Shadowbook")
        _block("", "span").props("id=main tabindex=-1").style("position:absolute")
        ui.add_body_html(shell("overview", "Overview", status))
        ui.on("sb_look", self._refresh)
        self._is_first_run = seen.value.is_first_run
        if self._is_first_run:
            _block(first_run())
            return
        made = await self._markup(seen, curve, now)
        self._sent |= {name: _without_ages(html) for name, html in made.items()}
        self._blocks["banner"] = _block(made["banner"]).classes("sb-slot")
        with ui.element("div").classes("sb-grid"):
            for name, classes in _LAYOUT:
                if name == "equity":
                    self._build_equity(seen, curve, made[name], classes)
                else:
                    self._blocks[name] = _block(made[name], "section").classes(classes)

    def _build_equity(self, seen: Seen[Overview], curve: Curve | None, head: str, classes: str) -> None:
        with ui.element("section").classes(classes) as self._panel:
            self._blocks["equity"] = _block(head).classes("sb-ph")
            if curve is None:
                _block(empty(icon("clock"), "Nothing to draw yet", "The curve starts with the paper portfolio."))
                return
            self._points = _shape(curve)
            self._chart = ui.echart(charts.equity(curve, _shadow_name(seen)), renderer="svg").classes(
                "sb-chart sb-h320"
            )
            self._chart.props(f'role=img aria-label="{esc(equity_label(curve))}"')
        self._dim(seen)

    async def _refresh(self) -> None:
        """Send what changed since; called by the browser while somebody looks."""
        now = datetime.now(UTC)
        seen = await self._board.overview()
        if seen.value.is_first_run != self._is_first_run:
            ui.run_javascript("location.reload()")
            return
        status = status_block(seen, now)
        if self._is_news("status", status):
            ui.run_javascript(f"sb.status({json.dumps(status)})")
        if self._is_first_run:
            return
        curve = await self._curve(seen, now)
        if curve is not None and self._chart is None:
            ui.run_javascript("location.reload()")
            return
        for name, html in (await self._markup(seen, curve, now)).items():
            if self._is_news(name, html):
                self._blocks[name].set_content(html)
        if curve is not None and _shape(curve) != self._points:
            self._points = _shape(curve)
            self._chart.run_chart_method("setOption", charts.equity(curve, _shadow_name(seen)))
            self._chart.props(f'aria-label="{esc(equity_label(curve))}"')
        self._dim(seen)

    async def _curve(self, seen: Seen[Overview], now: datetime) -> Curve | None:
        figures = seen.value.facts.figures
        if figures is None:
            return None
        wanted = self._wanted or smallest_range(figures.opened_at, now)
        found = await self._board.curve(wanted)
        return found.value if found else None

    async def _markup(self, seen: Seen[Overview], curve: Curve | None, now: datetime) -> dict[str, str]:
        day = await self._board.curve("1d") if curve is not None else None
        made = blocks(seen, today_curve(day.value if day else None, now), now)
        made["equity"] = equity_head(seen, curve, _shadow_name(seen))
        return made

    def _is_news(self, name: str, html: str) -> bool:
        bare = _without_ages(html)
        if self._sent.get(name) == bare:
            return False
        self._sent[name] = bare
        return True

    def _dim(self, seen: Seen[Overview]) -> None:
        is_old = seen.error is not None or seen.value.facts.verdict.is_stale
        if self._panel is not None:
            self._panel.classes(add="sb-stale") if is_old else self._panel.classes(remove="sb-stale")


def register(board: Board) -> None:
    """Define the page."""

    @ui.page("/", title="Overview · Shadowbook", response_timeout=20)
    async def overview(request: Request) -> Response | None:
        asked = request.query_params.get("range")
        wanted = next((name for name in RANGES if name == asked), None)
        try:
            await OverviewPage(board, wanted).build()
        except Unavailable:
            return away_page()
        return None


def _block(html: str, tag: str = "div") -> Any:
    return ui.html(html, sanitize=False, tag=tag)


def _without_ages(html: str) -> str:
    """Return markup without the text of ages: those tick in the browser and are no news."""
    return _AGES.sub(r"\1", html)


def _shape(curve: Curve) -> object:
    """Return what makes a curve worth sending again: another value, or another minute."""
    last = curve.points[-1]
    return (curve.range, curve.points[0].at, last.equity_micros, last.at.replace(second=0, microsecond=0))


def _shadow_name(seen: Seen[Overview]) -> str:
    return f"Shadows at {shares(seen.value.facts.gap)}"
