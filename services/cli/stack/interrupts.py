"""Ctrl-C and SIGTERM: the first ends what is being waited for, a second one only makes the stop hurry."""

import signal
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """The person or the system asked this process to stop."""


class Interrupts:
    """Signals of this process for the length of a block."""

    def __init__(self) -> None:
        self._count = 0
        self._raising = True

    def __enter__(self) -> Self:
        for number in SIGNALS:
            # SIGHUP stays ignored under nohup; SIGINT is taken even where a shell's background job would ignore it.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # what is left to do is a matter of milliseconds

    @property
    def hurried(self) -> bool:
        """Whether a further signal came after the first."""
        return self._count > 1

    def only_count(self) -> None:
        """Stop raising: from here on signals are counted only."""
        self._raising = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._raising:
            self._raising = False
            raise StopRequested
