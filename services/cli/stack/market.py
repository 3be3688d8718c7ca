"""The market a stack plays: a tape, a seeded synthetic market, or the live exchange.

A data directory belongs to one market for good, because what it holds came from there.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from services.cli.errors import CommandError

SEED_DEFAULT = 1
SPEED_MAX = 1000.0


@dataclass(frozen=True, slots=True)
class Market:
    """Where a stack's events come from."""

    kind: Literal["tape", "synthetic", "live"]
    speed: float = 1.0
    seed: int = SEED_DEFAULT
    tape: str | None = None
    fingerprint: str | None = None

    def remembered(self) -> dict[str, Any]:
        """Return the market as the data directory remembers it."""
        return asdict(self)

    def describe(self) -> str:
        """Say in a few words what is played."""
        if self.kind == "live":
            return "the live exchange"
        speed = f" at {self.speed:g} times its speed" if self.speed != 1 else ""
        return f"tape {self.tape}{speed}" if self.kind == "tape" else f"synthetic market, seed {self.seed}{speed}"


@dataclass(frozen=True, slots=True)
class MarketRequest:
    """What the command line said about the market; None: nothing."""

    tape: Path | None
    speed: float | None
    seed: int | None
    live: bool

    def check(self) -> None:
        """Raise CommandError when the options contradict each other or name no tape."""
        if self.live and (self.tape is not None or self.speed is not None or self.seed is not None):
            raise CommandError("--live shows the real exchange: it takes no --tape, --speed or --seed")
        if self.speed is not None and not 0 < self.speed <= SPEED_MAX:
            raise CommandError(f"--speed must be above 0 and at most {SPEED_MAX:g}, got {self.speed:g}")
        if self.seed is not None and self.seed < 0:
            raise CommandError(f"--seed must be 0 or more, got {self.seed}")
        if self.tape is not None and not (self.tape / "tape.json").is_file():
            raise CommandError(f"--tape {self.tape}: expected a folder with a tape.json in it")

    def says_anything(self) -> bool:
        """Tell whether any option about the market was given."""
        return self.live or any(value is not None for value in (self.tape, self.speed, self.seed))


def agreed_market(request: MarketRequest, remembered: dict[str, Any] | None, root: Path) -> Market:
    """Return the market to play: the remembered one, else the requested one; a contradiction is an error."""
    if remembered is None:
        return _requested(request, Market("synthetic"))
    known = Market(**remembered)
    if not request.says_anything():
        return known
    wanted = _requested(request, known)
    if wanted.kind != known.kind or (wanted.fingerprint, wanted.speed, wanted.seed) != (
        known.fingerprint,
        known.speed,
        known.seed,
    ):
        raise CommandError(
            f"{root} holds the data of {known.describe()}, not of {wanted.describe()}: "
            "use another --data-dir, or leave the market's options out to go on with it"
        )
    return wanted


def fingerprint(tape: Path) -> str:
    """Return what tells tapes apart: the name and size of every file, and the text of tape.json."""
    digest = hashlib.sha256((tape / "tape.json").read_bytes())
    for file in sorted(tape.iterdir()):
        if file.is_file():
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def _requested(request: MarketRequest, default: Market) -> Market:
    if request.live:
        return Market("live")
    speed = default.speed if request.speed is None else request.speed
    seed = default.seed if request.seed is None else request.seed
    if request.tape is not None:
        tape = request.tape.resolve()
        return Market("tape", speed, seed, str(tape), fingerprint(tape))
    return Market(
        "synthetic" if default.kind == "live" else default.kind, speed, seed, default.tape, default.fingerprint
    )
