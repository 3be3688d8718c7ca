"""Where a probe asks: the real exchange, what the environment names, or what the stack of a data directory uses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from services.cli.errors import CommandError
from services.cli.stack.assembly import RPC_VARIABLE
from services.cli.stack.data_dir import Memory, chosen_root, existing_data_dir, holder
from services.cli.stack.programs import LIVE_URLS, sandbox_urls
from services.cli.stack.visit import UP

_DATA, _CLOB, _GAMMA = "SHADOWBOOK_DATA_API_URL", "SHADOWBOOK_CLOB_URL", "SHADOWBOOK_GAMMA_URL"


@dataclass(frozen=True, slots=True)
class Target:
    """Base URLs; `rpc` may hold a key and is never shown."""

    name: str
    data: str
    clob: str
    gamma: str
    rpc: str | None


def choose_target(option: Path | None, *, live: bool) -> Target:
    """Return where to ask; raises CommandError for a URL that is none, and where a stack is down."""
    named = {name: os.environ[name] for name in (_DATA, _CLOB, _GAMMA) if os.environ.get(name)}
    rpc = os.environ.get(RPC_VARIABLE) or None
    if live:
        return _target("the real exchange", LIVE_URLS, rpc)
    if named:
        return _target("what the environment names", {**LIVE_URLS, **named}, rpc)
    root = chosen_root(option)
    if (root / "stack.json").exists():
        memory = Memory(root / "stack.json")
        if (memory.market or {}).get("kind") != "live" and "sandbox" in memory.ports:
            held_by = holder(existing_data_dir(root))
            if held_by is None or held_by["command"] != UP:
                raise CommandError(
                    f"the stack in {root} is down, and its sandbox with it: start it with `make up` or `shadowbook up`,"
                    " or ask the real exchange with --live"
                )
            urls = sandbox_urls(memory.ports["sandbox"])
            return _target(f"the sandbox of the stack in {root}", urls, urls[RPC_VARIABLE])
    elif option is not None:
        raise CommandError(f"no stack has been started in {root}: leave --data-dir out, or use --live")
    return _target("the real exchange", LIVE_URLS, rpc)


def _target(name: str, urls: Mapping[str, str], rpc: str | None) -> Target:
    for variable in (_DATA, _CLOB, _GAMMA):
        _check(variable, urls[variable], ("http", "https"))
    if rpc is not None:
        _check(RPC_VARIABLE, rpc, ("ws", "wss"))
    return Target(name, urls[_DATA], urls[_CLOB], urls[_GAMMA], rpc)


def _check(variable: str, url: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise CommandError(f"{variable} is not a URL of the form {schemes[-1]}://HOST: correct or unset it")
