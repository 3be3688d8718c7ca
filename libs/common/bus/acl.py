"""Who may do what on Redis, one user per service, derived from the map.

A service reads the streams it consumes and writes the streams it produces, nothing else; the UI may only add to the
streams that carry wishes (config, control, reconcile) and look at how full the streams are. The rules hold no
passwords: whoever makes the users (`services.cli.stack`, a compose file) adds those.
"""

from collections.abc import Mapping
from typing import Final

from libs.common.bus import keys
from libs.common.bus.streams import Stream, consumed_by, service_of, written_by
from libs.common.messages import Message

SERVICES: Final = ("ingest", "grouper", "simulator", "ledger", "pricer", "ui")
OPERATOR: Final = "operator"
UPSTREAM_USERS: Final = frozenset({"ingest", "simulator", "pricer"})
"""Services that call the exchange and so share the rate limit."""

CONNECTION: Final = "+ping +hello +auth +select +client|setinfo +client|setname +client|id +multi +exec +discard"
CONSUME: Final = (
    "+xreadgroup +xack +xpending +xclaim +xinfo +xgroup|create +xtrim +xadd +xlen +xrange "
    "+hset +hget +hmget +hdel +hincrby +set +get +del"
)
LIMIT: Final = f"(-@all +eval +evalsha +script|load +hmget +hset +pexpire +time ~{keys.LIMITER})"
LOOK: Final = "(-@all +xinfo +xlen +xrange +xpending %R~*)"


def _consumed_keys(stream: Stream[Message], service: str) -> list[str]:
    patterns = [f"~{stream.name}", f"~{stream.dead_letters}", f"~{keys.trimming(stream.name)}"]
    # A consumer makes every group of its stream, so it may flag each as new.
    patterns += [f"~{keys.recreated(stream.name, group)}" for group in stream.groups]
    for group in stream.groups:
        if service_of(group) == service:
            named = (keys.failures, keys.deaths, keys.running, keys.sweeping)
            patterns += [f"~{name(stream.name, group)}" for name in named]
    return patterns


def rule(service: str) -> str:
    """Return the ACL rule of a service as one line, without user name and password."""
    parts = ["resetkeys", "resetchannels", "-@all", CONNECTION]
    consumed = consumed_by(service)
    if consumed:
        parts += [pattern for stream in consumed for pattern in _consumed_keys(stream, service)]
        parts.append(CONSUME)
    written = written_by(service)
    if written:
        parts.append(f"(-@all +xadd {' '.join(f'~{stream.name}' for stream in written)})")
    if service in UPSTREAM_USERS:
        parts.append(LIMIT)
    if service == "ui":
        parts.append(LOOK)
    return " ".join(parts)


RULES: Final[Mapping[str, str]] = {OPERATOR: "~* &* +@all", **{service: rule(service) for service in SERVICES}}
"""Every user of the bus and its rule."""
