"""The one place that escapes: everything that came from outside passes `esc` before it stands in markup."""

from html import escape


def esc(value: object) -> str:
    """Return `value` as text that is safe inside an element and inside a quoted attribute."""
    return escape(str(value), quote=True)


def hint(label: str, formula: str) -> str:
    """Return a label whose formula shows on hover and on focus."""
    return f'<span class="sb-k" tabindex="0" data-tip="{esc(formula)}">{esc(label)}</span>'


def dot(kind: str) -> str:
    """Return the state's mark: round ok, diamond warn, square bad; the words beside it say the same."""
    return f'<i class="sb-dot sb-{esc(kind)}"></i>'


def pill(kind: str, text: str, age: str = "") -> str:
    """Return a status pill; `age` is markup from `ago`."""
    return f'<span class="sb-pill sb-{esc(kind)}"><i></i>{esc(text)}{f" {age}" if age else ""}</span>'


def panel_head(title: str, sub: str = "", right: str = "") -> str:
    """Return a panel's head; `right` is markup."""
    note = f'<span class="sb-sub">{esc(sub)}</span>' if sub else ""
    return f'<div class="sb-ph"><h2>{esc(title)}</h2>{note}<span class="sb-sp"></span>{right}</div>'


def empty(icon: str, title: str, text: str, actions: str = "") -> str:
    """Return the state of a panel with nothing in it; `icon` and `actions` are markup."""
    act = f'<div class="sb-act">{actions}</div>' if actions else ""
    return f'<div class="sb-state">{icon}<h3>{esc(title)}</h3><p>{esc(text)}</p>{act}</div>'


def banner(icon: str, strong: str, text: str, kind: str = "", right: str = "") -> str:
    """Return the page's one banner; `kind` is empty (a warning), bad or calm; `icon` and `right` are markup."""
    role = "alert" if kind == "bad" else "status"
    return (
        f'<div class="sb-banner{f" sb-{kind}" if kind else ""}" role="{role}">{icon}<span><b>{esc(strong)}</b> '
        f"{esc(text)}</span>"
        f'<span class="sb-sp"></span>{right}</div>'
    )
