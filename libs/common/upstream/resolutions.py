"""Which rows of `/v2/resolutions` are final: status `resolved`, with payouts that make up one share.

A proposed, challenged, disputed or re-proposed condition pays nobody yet, whatever price its row names. Of several rows
of one condition all must say the same. Source: reference section 1.4.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Final

from libs.common.domain.market import Resolution
from libs.common.domain.money import MICROS
from libs.common.upstream.fields import FieldError, an_object, clean, read_hex_id, read_integer, read_seconds
from libs.common.upstream.gamma import OUTCOMES_MAX, decode_instant

RESOLUTION: Final = "resolution"
SOURCE_LENGTH_MAX: Final = 20

Refuse = Callable[[str, ValueError, object], None]
"""Told why a row is not used, in one word and as an error, and the row."""


def decode_resolution(wire: object) -> Resolution | None:
    """Return the resolution a row tells, or None while it is not final; raises ValueError naming what is wrong."""
    row = an_object(wire, RESOLUTION)
    payouts = row.get("payouts")
    if row.get("status") != "resolved" or payouts in (None, []):
        return None
    if not isinstance(payouts, list) or len(payouts) > OUTCOMES_MAX:
        raise FieldError(RESOLUTION, "payouts", "a list of micros per share", payouts)
    shares = [read_integer(each, "payouts", RESOLUTION, most=MICROS, expected="micros per share") for each in payouts]
    # A share of each outcome is worth 1 together; halves and thirds lose the odd micro.
    if not MICROS - len(shares) < sum(shares) <= MICROS:
        raise FieldError(RESOLUTION, "payouts", "micros per share that make up 1", sum(shares))
    return Resolution(
        condition_id=read_hex_id(row.get("condition_id"), "condition_id", RESOLUTION),
        payouts_micros=tuple(shares),
        resolved_at=_moment(row.get("resolved_at")) or _moment(row.get("last_update_timestamp")),
        source=clean(row.get("resolution_source"), SOURCE_LENGTH_MAX) or "reported",
    )


def final_resolutions(wires: Iterable[object], asked: Collection[str], refuse: Refuse) -> dict[str, Resolution]:
    """Return the resolutions that rows agree on, by condition; one that any of its rows leaves open is left out."""
    found: dict[str, Resolution] = {}
    doubtful: set[str] = set()
    for wire in wires:
        condition = None
        try:
            condition = read_hex_id(an_object(wire, RESOLUTION).get("condition_id"), "condition_id", RESOLUTION)
            resolution = decode_resolution(wire)
        except ValueError as error:
            refuse("resolution", error, wire)
            resolution = None
        if resolution is None:
            doubtful.add(condition or "")
        elif found.setdefault(resolution.condition_id, resolution).payouts_micros != resolution.payouts_micros:
            doubtful.add(resolution.condition_id)
    for condition in sorted(found.keys() & doubtful):
        doubt = ValueError(f"condition {condition}: expected rows that agree, got a final one and another")
        refuse("resolution_contradicted", doubt, {"condition_id": condition})
    return {each: resolution for each, resolution in found.items() if each in asked and each not in doubtful}


def _moment(value: object) -> datetime | None:
    """Return a time in either of the wire's shapes, RFC 3339 or epoch seconds as text; None for anything else."""
    try:
        if isinstance(value, str) and not value.isdigit():
            return decode_instant(value)
        return None if value is None else datetime.fromtimestamp(read_seconds(value, "time", RESOLUTION), UTC)
    except ValueError:
        return None
