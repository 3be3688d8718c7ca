"""Work done in a short-lived child process, so that `up` itself stays small for as long as it runs.

Migrations and the services' commands import a few dozen megabytes that the foreground process needs only once.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from libs.common.domain.errors import ShadowbookError
from services.cli.errors import CommandError, StackError

RESULT_TIMEOUT_SECONDS = 120.0


class Errand:
    """A function running in a child process."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("fork")  # an argument may be anything, and nothing is imported twice
        self._name = function.__name__
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(sender, function, arguments), daemon=True)
        self._process.start()
        sender.close()

    def is_done(self) -> bool:
        """Tell whether `result` would answer at once."""
        return self._receiver.poll()

    def result(self) -> Any:
        """Wait for the function and return what it returned, or raise what it raised."""
        try:
            if not self._receiver.poll(RESULT_TIMEOUT_SECONDS):
                raise StackError(f"{self._name} did not end within {RESULT_TIMEOUT_SECONDS:.0f} s")
            outcome, value = self._receiver.recv()
        except EOFError:
            raise StackError(f"{self._name} died before it was done") from None
        finally:
            self.cancel()
        if outcome == "returned":
            return value
        raise (CommandError if outcome == "refused" else StackError)(value)

    def cancel(self) -> None:
        """End the child, whether it is done or not."""
        self._process.kill()
        self._process.join()


def _run(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        sender.send(("returned", function(*arguments)))
    except CommandError as error:
        sender.send(("refused" if error.exit_code == CommandError.exit_code else "failed", str(error)))
    except ShadowbookError as error:
        sender.send(("refused", str(error)))
    except Exception as error:  # noqa: BLE001 - the top of this process: the parent says it
        detail = traceback.format_exc() if os.environ.get("SHADOWBOOK_TRACEBACK") else ""
        sender.send(("failed", f"{function.__name__}: {type(error).__name__}: {error}{detail and chr(10)}{detail}"))
    finally:
        sender.close()
