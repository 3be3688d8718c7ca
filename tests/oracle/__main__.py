"""`python -m tests.oracle TAPE EXPORTS --speed N`: print violations, exit 1 if there are any."""

import argparse
import sys
from fractions import Fraction
from pathlib import Path

from tests.oracle import audit


def main() -> int:
    """Judge one exported run."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("tape", type=Path)
    arguments.add_argument("exports", type=Path)
    arguments.add_argument("--speed", type=Fraction, default=Fraction(1))
    given = arguments.parse_args()
    found = audit(given.tape, given.exports, given.speed)
    for violation in found:
        sys.stdout.write(f"{violation}\n")
    sys.stdout.write(f"{len(found)} violations\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
