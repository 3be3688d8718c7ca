"""TCP ports on loopback: free ones, below the range the kernel gives to clients.

Between choosing a port and listening there lie seconds. Stacks that start at the same time must not choose the same
one, so a chosen port is claimed until the process ends: by the name of a socket, which the kernel drops with us.
"""

import errno
import random
import socket
import sys
from collections.abc import Container

from services.cli.errors import CommandError

FIRST, LAST = 15_000, 32_000  # ports above 32767 collide with outgoing connections
TRIES_MAX = 500
_random = random.SystemRandom()
_claims: dict[int, socket.socket] = {}


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    return _bind_error(port) is None


def claim(port: int) -> bool:
    """Tell whether the port is free and no other process has chosen it; if so it is this process's choice."""
    if not is_free(port):
        return False
    if port in _claims or sys.platform != "linux":  # only Linux has names outside of the file system
        return True
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(f"\0shadowbook-port-{port}")
    except OSError:
        held.close()
        return False
    _claims[port] = held
    return True


def free_port(taken: Container[int] = ()) -> int:
    """Return a free port not in `taken`; this process gets each port once, other processes not before it ends."""
    for _ in range(TRIES_MAX):
        port = _random.randint(FIRST, LAST)
        if port not in taken and port not in _claims and claim(port):
            return port
    raise CommandError(f"no free TCP port between {FIRST} and {LAST} on 127.0.0.1: stop something that listens there")


def check_requested(port: int) -> None:
    """Raise CommandError unless the port a person asked for can be used."""
    if not 1 <= port <= 65_535:
        raise CommandError(f"--port must be between 1 and 65535, got {port}")
    error = _bind_error(port)
    if error == errno.EACCES:
        raise CommandError(f"--port {port} needs root, as all ports below 1024 do: choose a higher one")
    if error is not None:
        raise CommandError(f"--port {port} is taken on 127.0.0.1 by another program: stop it or choose another port")


def _bind_error(port: int) -> int | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ports in TIME_WAIT are free for a server
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno
    return None
