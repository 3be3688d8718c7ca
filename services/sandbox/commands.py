"""What the command line needs of the sandbox: to refuse a bad tape or faults file before anything starts."""

from fractions import Fraction
from pathlib import Path

from services.sandbox.faults import Faults, FaultsError, read_faults
from services.sandbox.playback import TapeExchange
from services.sandbox.tape import Head, TapeError
from services.sandbox.timeline import Timeline

__all__ = ["FaultsError", "TapeError", "validate_faults", "validate_tape"]


def validate_tape(path: Path | str) -> Head:
    """Read a whole tape and return its head; raises TapeError with `file:line: what was expected, what came`."""
    exchange = TapeExchange(Path(path), _unplayed)
    exchange.close()
    return exchange.head


def validate_faults(path: Path | str) -> Faults:
    """Read a faults file; raises FaultsError with `file:line: what was expected, what came`."""
    return read_faults(Path(path))


def _unplayed(head: Head) -> Timeline:
    return Timeline(start_ms=head.start_ms, speed=Fraction(1), key="")
