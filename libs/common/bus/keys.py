"""Names of the keys the bus keeps in Redis beside its streams; the ACL rules are made from the same names."""

from typing import Final

LIMITER: Final = "bus:limiter"


def failures(stream: str, group: str) -> str:
    """Return the hash of recorded failures: entry id -> JSON."""
    return f"bus:failures:{stream}:{group}"


def deaths(stream: str, group: str) -> str:
    """Return the hash of process deaths with an entry running: entry id -> count."""
    return f"bus:deaths:{stream}:{group}"


def running(stream: str, group: str) -> str:
    """Return the hash of what each consumer runs right now: consumer -> entry ids."""
    return f"bus:running:{stream}:{group}"


def recreated(stream: str, group: str) -> str:
    """Return the flag that a group was made anew and awaits its first sweep."""
    return f"bus:recreated:{stream}:{group}"


def sweeping(stream: str, group: str) -> str:
    """Return the lock of the one sweep of a group at a time."""
    return f"bus:sweeping:{stream}:{group}"


def trimming(stream: str) -> str:
    """Return the lock of the one trim of a stream at a time."""
    return f"bus:trimming:{stream}"
