"""Ask about many ids in parts, so that one id the host refuses or stumbles over costs the others nothing."""

import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from libs.common.domain.errors import Rejected, Unavailable

SPLITS_MAX: Final = 32
"""Parts that are cut in two within one call: enough for a few bad ids among hundreds, not for a host that says no."""
PARTS: Final = 8
"""Into how many parts doubtful ids are cut, until they stand alone; more while every part has a bad one."""
PARTS_MAX: Final = 32
SILENT_MAX: Final = 4
"""Of those in a row without an answer before the host itself counts as away."""
DOUBTFUL_MAX: Final = 10_000

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


class InParts(Generic[T]):
    """Asks `ask(part, attempts)` for parts of at most `size` ids, and about those it had no answer for in small parts.

    `refused` is told of each id that is refused alone. What the host stumbles over is missed, where it answers for
    others; it stays doubtful and is asked about last, once, apart from what is good and in other company each time. So
    a few bad ids keep neither the others without an answer nor the host's breaker open.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[str], int | None], Awaitable[T]],
        size: int,
        refused: Callable[[str, Rejected], None],
    ) -> None:
        self._ask, self._size, self._refused = ask, size, refused
        self._doubtful: set[str] = set()
        self._parts = PARTS

    async def ask(self, ids: Sequence[str]) -> Answers[T]:
        """Return what is answered; raises Unavailable when nothing is, Rejected when too many parts are refused."""
        answers: Answers[T] = Answers()
        answered, silent, size = False, 0, 0
        good = [each for each in ids if each not in self._doubtful]
        for part in chunks(good, self._size):
            answered |= await self._try(part, None, answers)
        alone = set(good) if len(good) == 1 else set()
        while size != 1 and (left := [each for each in ids if each in self._doubtful - alone]):
            size = min(self._size, -(-len(left) // self._parts))
            for part in chunks(_order.sample(left, len(left)), size):
                is_told = await self._try(part, 1, answers)
                answered, silent = answered or is_told, 0 if is_told else silent + 1
                if silent >= SILENT_MAX:
                    break
            if silent >= SILENT_MAX:
                self._parts = min(2 * self._parts, PARTS_MAX)
                break
        answers.missed = self._doubtful.intersection(ids)
        if not answers.missed:
            answers.failure, self._parts = None, PARTS
        elif answers.failure is not None and not answered:
            raise answers.failure
        if len(self._doubtful) > DOUBTFUL_MAX:
            self._doubtful.clear()
        return answers

    async def _try(self, ids: Sequence[str], attempts: int | None, answers: Answers[T]) -> bool:
        """Ask about a part, in halves where it is refused; returns whether the host had an answer."""
        left, splits, answered = deque([ids]), 0, False
        while left:
            part = left.popleft()
            try:
                answers.parts.append((part, await self._ask(part, attempts)))
            except Unavailable as error:
                answers.failure = error
                self._doubtful.update(part)
                continue
            except Rejected as error:
                if len(part) > 1:
                    splits += 1
                    if splits > SPLITS_MAX:
                        raise
                    left.extendleft((part[len(part) // 2 :], part[: len(part) // 2]))
                    continue
                self._refused(part[0], error)
            self._doubtful.difference_update(part)
            answered = True
        return answered
