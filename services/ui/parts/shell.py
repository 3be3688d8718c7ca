"""The frame of every page: navigation, title, status; plain markup that is painted before any script runs."""

import hashlib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

from services.ui.parts.figures import ago
from services.ui.parts.html import esc, pill
from services.ui.parts.icons import LOGO, icon
from services.ui.queries.control import Control

STATIC: Final = Path(__file__).parents[1] / "static"
PAGES: Final = (("overview", "Overview", "/"), ("code", "API", "/api/docs"))


@cache
def asset(name: str) -> str:
    """Return the address of a static file, new whenever its content is."""
    return f"/_sb/{name}?{hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def head() -> str:
    """Return what stands in the head of every page; the theme script blocks, so that no page flashes."""
    return (
        f'<script src="{asset("theme.js")}"></script>'
        '<link rel="preload" href="/_sb/inter.woff2" as="font" type="font/woff2" crossorigin>'
        f'<link rel="stylesheet" href="{asset("sb.css")}"><script src="{asset("sb.js")}" defer></script>'
    )


def shell(active: str, title: str, status: str = "") -> str:
    """Return navigation and top bar; `status` is markup that the page keeps up to date."""
    items = "".join(
        f'<a class="sb-i" href="{url}" aria-label="{name}"{" aria-current=page" if key == active else ""}>'
        f"{icon(key)}<span>{name}</span></a>"
        for key, name, url in PAGES
    )
    return (
        '<nav class="sb-nav" id="nav" aria-label="Main"><a class="sb-skip" href="#main">Skip to content</a>'
        f'<a class="sb-brand" href="/" aria-label="Shadowbook">{LOGO}Shadowbook</a>{items}<span class="sb-sp"></span>'
        '<div class="sb-foot"><span class="sb-who">admin</span>'
        '<form method="post" action="/logout"><button class="sb-ibtn" aria-label="Sign out" data-tip="Sign out">'
        f"{icon('out')}</button></form>"
        '<button class="sb-ibtn" data-act="theme" aria-label="Switch between light and dark" data-tip="Light or dark">'
        f'{icon("moon")}</button></div></nav><div class="sb-navscrim" data-act="menu"></div>'
        '<header class="sb-top"><button class="sb-ibtn sb-menu" data-act="menu" aria-label="Open navigation" '
        f'aria-controls="nav" aria-expanded="false">{icon("menu")}</button><h1>{esc(title)}</h1>'
        f'<span class="sb-sp"></span><div id="sb-status" class="sb-status">{status}</div></header>'
    )


def status_bar(control: Control, kind: str, word: str, at: datetime | None, now: datetime) -> str:
    """Return the pill with its age, and the button that pauses or resumes."""
    age = f'<span class="sb-age sb-hide-s">{ago(at, now)}</span>' if at is not None else ""
    if control.paused:
        button = _switch("resume", "Resume copying", "play", " sb-p")
        return pill("warn", "Paused") + button
    return pill(kind, word, age) + _switch("pause", "Pause copying", "pause", "")


def _switch(act: str, words: str, image: str, style: str) -> str:
    return (
        f'<button class="sb-btn{style}" data-act="{act}" aria-label="{words}">{icon(image, "sb-i14")}'
        f'<span class="sb-hide-s">{words}</span></button>'
    )


def document(title: str, body: str) -> str:
    """Return a whole page that needs no live connection: login, errors, API."""
    return (
        '<!doctype html><html lang="en-GB"><head><meta charset="utf-8"><title>'
        f"{esc(title)} · Shadowbook</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f'<link rel="icon" href="{asset("favicon.svg")}" type="image/svg+xml">{head()}</head><body>{body}</body></html>'
    )


def card(title: str, text: str, action: str = "") -> str:
    """Return the centred card of login and error pages; `action` is markup."""
    return (
        '<main class="sb-solo" id="main" tabindex="-1"><section class="sb-panel">'
        f'<div class="sb-solo-brand">{LOGO}Shadowbook'
        f'</div><h1>{esc(title)}</h1><p class="sb-sec">{esc(text)}</p>{action}</section></main>'
    )
