"""Icons as one path each: 24 units, stroke only, no icon font."""

from typing import Final

PATHS: Final = {
    "overview": "M3 13h7V3H3zM14 21h7V11h-7zM3 21h7v-4H3zM14 7h7V3h-7z",
    "users": (
        "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20c.6-3.4 3.2-5.2 6.5-5.2s5.9 1.8 6.5 5.2"
        "M16 4.3a3.5 3.5 0 0 1 0 6.5M18.5 15.2c1.6.8 2.7 2.4 3 4.8"
    ),
    "trades": "M7 4v16M7 20l-3.5-3.5M7 20l3.5-3.5M17 20V4M17 4l-3.5 3.5M17 4l3.5 3.5",
    "markets": "M4 20V10M10 20V4M16 20v-7M22 20H2",
    "menu": "M4 7h16M4 12h16M4 17h16",
    "moon": "M20 14.5A8 8 0 0 1 9.5 4 8 8 0 1 0 20 14.5z",
    "copy": "M9 9h10v11H9zM5 15V4h10",
    "code": "M8 8l-4 4 4 4M16 8l4 4-4 4",
    "out": "M14 4h5v16h-5M4 12h10M10.5 8.5L14 12l-3.5 3.5",
    "pause": "M8 5v14M16 5v14",
    "play": "M7 4.5l12 7.5-12 7.5z",
    "up": "M12 19V5M6 11l6-6 6 6",
    "down": "M12 5v14M6 13l6 6 6-6",
    "warn": "M12 4l9.5 16h-19zM12 10v4.5M12 17.3v.2",
    "clock": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7.5V12l3 2",
    "empty": "M4 13l2.5-8h11L20 13v6H4zM4 13h5l1.5 2.5h3L15 13h5",
}

LOGO: Final = (
    '<svg width="22" height="22" viewBox="0 0 22 22" aria-hidden="true">'
    '<path d="M6.5 4.5h10a1.5 1.5 0 0 1 1.5 1.5v11.5H8a1.5 1.5 0 0 1-1.5-1.5z" fill="var(--shadow-c)" opacity=".38"/>'
    '<path d="M4 3h9.5A1.5 1.5 0 0 1 15 4.5V16H5.5A1.5 1.5 0 0 1 4 14.5z" fill="var(--accent)"/>'
    '<path d="M6.8 11.6l2-2.2 1.6 1.3 2.2-3.1" fill="none" stroke="var(--panel)" stroke-width="1.5" '
    'stroke-linecap="round" stroke-linejoin="round"/></svg>'
)
FAVICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 22 22">'
    '<path d="M6.5 4.5h10a1.5 1.5 0 0 1 1.5 1.5v11.5H8a1.5 1.5 0 0 1-1.5-1.5z" fill="#747b88" opacity=".5"/>'
    '<path d="M4 3h9.5A1.5 1.5 0 0 1 15 4.5V16H5.5A1.5 1.5 0 0 1 4 14.5z" fill="#4f46e5"/>'
    '<path d="M6.8 11.6l2-2.2 1.6 1.3 2.2-3.1" fill="none" stroke="#fff" stroke-width="1.5" '
    'stroke-linecap="round" stroke-linejoin="round"/></svg>'
)


def icon(name: str, size: str = "") -> str:
    """Return an icon; `size` is empty (16 px), sb-i14 or sb-i12."""
    return f'<svg class="sb-ic {size}" viewBox="0 0 24 24" aria-hidden="true"><path d="{PATHS[name]}"/></svg>'
