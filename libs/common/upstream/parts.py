"""Ask about many ids in parts, so that one id the host refuses costs the others nothing."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeVar

from libs.common.domain.errors import Rejected

SPLITS_MAX: Final = 32
"""Parts that are cut in two within one call: enough for a few bad ids among hundreds, not for a host that says no."""

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield `items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def ask_in_parts(
    ask: Callable[[Sequence[str]], Awaitable[T]],
    ids: Sequence[str],
    size: int,
    refused: Callable[[str, Rejected], None],
) -> list[tuple[Sequence[str], T]]:
    """Return each part of at most `size` ids with its answer; a refused part is asked again in halves.

    `refused` is told of each id that is refused alone. Raises Rejected when more than SPLITS_MAX parts are refused.
    """
    answers = []
    left = deque(chunks(ids, size))
    splits = 0
    while left:
        part = left.popleft()
        try:
            answers.append((part, await ask(part)))
        except Rejected as error:
            if len(part) == 1:
                refused(part[0], error)
                continue
            splits += 1
            if splits > SPLITS_MAX:
                raise
            middle = len(part) // 2
            left.extendleft((part[middle:], part[:middle]))
    return answers
