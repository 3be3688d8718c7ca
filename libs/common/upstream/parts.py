"""Ask about many ids in parts, so that one id the host refuses or stumbles over costs the others nothing."""

import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from libs.common.domain.errors import Rejected, Unavailable

SPLITS_MAX: Final = 32
"""Parts that are cut in two within one call: enough for a few bad ids among hundreds, not for a host that says no."""
SILENT_MAX: Final = 4
"""Parts in a row that get no answer before the host itself counts as away."""

T = TypeVar("T")
_order = random.Random()  # noqa: S311  who shares a part with a bad id is another one each time, it guards nothing


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield `items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


@dataclass(slots=True)
class Answers(Generic[T]):
    """Each part that was answered, with its answer; `missed` are ids without one, for `failure`."""

    parts: list[tuple[Sequence[str], T]] = field(default_factory=list)
    missed: set[str] = field(default_factory=set)
    failure: Unavailable | None = None


async def ask_in_parts(
    ask: Callable[[Sequence[str], int | None], Awaitable[T]],
    ids: Sequence[str],
    size: int,
    refused: Callable[[str, Rejected], None],
) -> Answers[T]:
    """Ask for parts of at most `size` ids with `ask(part, attempts)`; a part without an answer again in halves.

    `refused` is told of each id that is refused alone. What the host stumbles over alone is missed, where it answers
    for others. Raises Rejected when more than SPLITS_MAX parts are refused, Unavailable when nothing is answered, or
    SILENT_MAX parts in a row are not.
    """
    answers: Answers[T] = Answers()
    left: deque[tuple[Sequence[str], int | None]] = deque((part, None) for part in chunks(ids, size))
    splits, silent = 0, 0
    while left:
        part, attempts = left.popleft()
        middle = len(part) // 2
        try:
            answers.parts.append((part, await ask(part, attempts)))
            silent = 0
        except Rejected as error:
            silent = 0
            if len(part) == 1:
                refused(part[0], error)
                continue
            splits += 1
            if splits > SPLITS_MAX:
                raise
            left.extendleft(((part[middle:], attempts), (part[:middle], attempts)))
        except Unavailable as error:
            silent += 1
            if silent >= SILENT_MAX:
                raise
            answers.failure = error
            if len(part) == 1:
                answers.missed.add(part[0])
                continue
            # At the end and once each, so that good answers come between the bad ones and keep the breaker closed.
            mixed = _order.sample(part, len(part))
            left.extend(((mixed[:middle], 1), (mixed[middle:], 1)))
    if answers.failure is not None and not answers.missed:
        answers.failure = None  # all were answered in the end
    if answers.failure is not None and not answers.parts:
        raise answers.failure
    return answers
