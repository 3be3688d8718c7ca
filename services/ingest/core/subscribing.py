"""Which wallets share a subscription: as few subscriptions as the limit allows, and as few changed as can be."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet


def arrange(current: Sequence[AbstractSet[str]], wanted: Iterable[str], room: int) -> list[frozenset[str]]:
    """Return the parts that hold each wanted wallet once, at most `room` each, as few parts as possible.

    `current` are the parts that stand, newest last; they may overlap after a change that was cut short. A part nobody
    joins or leaves comes back as it is: whoever acts on this remakes only what differs.
    """
    left = set(wanted)
    needed = -(-len(left) // room)
    parts: list[set[str]] = []
    touched: list[bool] = []
    for part in reversed(current):
        own = part & left
        if own and len(own) <= room:
            parts.append(set(own))
            touched.append(len(own) != len(part))
            left -= own
    while len(parts) > needed:
        smallest = min(range(len(parts)), key=lambda each: len(parts[each]))
        left |= parts.pop(smallest)
        touched.pop(smallest)
    joining = sorted(left)
    # Those that change anyway come first, then those with most room, so that few others need to be touched.
    for each in sorted(range(len(parts)), key=lambda each: (not touched[each], len(parts[each]))):
        free = room - len(parts[each])
        parts[each].update(joining[:free])
        joining = joining[free:]
    while joining:
        parts.append(set(joining[:room]))
        joining = joining[room:]
    return [frozenset(part) for part in parts]
