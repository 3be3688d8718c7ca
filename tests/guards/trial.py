"""One mutant against the worked examples, in a process of its own."""

import contextlib
import gc
import inspect
import io
import json
import os
import signal
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from services.simulator.core.decide import decide
from services.simulator.core.outcome import Outcome
from tests.guards.mutants import Mutant
from tests.support import decisions

SECONDS_OF_CPU_MAX: Final = 0.5
"""Many times what all examples take; what runs longer does not end, and so is noticed."""

Verdicts = dict[str, bool | None]
"""By the name of the check; of several checks of one name, the last."""


@dataclass(frozen=True)
class Example:
    """One collected test with its parameters."""

    name: str
    run: Callable[[], None]


@dataclass
class Trial:
    """What came of one mutant. `noticed_by` is None where every example passed."""

    mutant: Mutant
    noticed_by: str | None = None
    checks: set[str] = field(default_factory=set)
    """Checks whose verdict the mutant changed in the example that noticed it."""


class _Collector:
    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = session.items


def collect(files: Sequence[str]) -> list[Example]:
    """Return the deterministic tests of `files`, which may ask for no fixture."""
    collector, shown = _Collector(), io.StringIO()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with contextlib.redirect_stdout(shown):
        code = pytest.main([*files, "--collect-only", "--noconftest", "-c", os.devnull], plugins=[collector])
    if code or not collector.items:
        raise LookupError(f"expected tests in {list(files)}, pytest said: {shown.getvalue()}")
    return [_example(item) for item in collector.items if not _is_random(item)]


def _is_random(item: pytest.Item) -> bool:
    return bool(getattr(getattr(item, "obj", None), "is_hypothesis_test", False))


def _example(item: pytest.Item) -> Example:
    if not isinstance(item, pytest.Function):
        raise TypeError(f"expected a test function, got {item}")
    parameters: dict[str, Any] = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    if missing := inspect.signature(item.obj).parameters.keys() - parameters.keys():
        raise TypeError(f"{item.nodeid} asks for fixtures, which examples of guards do without: {sorted(missing)}")
    return Example(item.nodeid, lambda: item.obj(**parameters))


class Recorder:
    """Notes the verdicts of every decision made through `tests.support.decisions`."""

    def __init__(self) -> None:
        self.decisions: list[Verdicts] = []
        self._decide = decide

    def __enter__(self) -> "Recorder":
        vars(decisions)["decide"] = self._recorded
        return self

    def __exit__(self, *_: object) -> None:
        vars(decisions)["decide"] = self._decide

    def _recorded(self, *inputs: Any) -> Outcome:
        outcome = self._decide(*inputs)
        self.decisions.append({check[0]: check[1] for check in outcome.checks})
        return outcome


class Bench:
    """The examples with what they find in the code as it is."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.baseline: dict[str, list[Verdicts]] = {}
        self._order = list(examples)
        with Recorder() as recorder:
            for example in examples:
                recorder.decisions = []
                example.run()
                self.baseline[example.name] = recorder.decisions

    def fired(self) -> set[str]:
        """Return the checks that some example makes fail."""
        return {name for found in self.baseline.values() for each in found for name in each if each[name] is False}

    def try_(self, mutant: Mutant) -> Trial:
        """Return what becomes of the mutant; the examples that notice most are asked first."""
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child waits for none
            child = os.fork()
        if not child:
            os.close(reading)
            self._run(mutant, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return Trial(mutant, f"the clock: no end within {SECONDS_OF_CPU_MAX} s")
        found = json.loads(answer)
        if "failure" in found:
            raise RuntimeError(f"{mutant.name}: {found['failure']}")
        if found["place"] is None:
            return Trial(mutant)
        noticed = self._order[found["place"]]
        self._order.insert(0, self._order.pop(found["place"]))
        return Trial(mutant, noticed.name, set(found["checks"]))

    def _run(self, mutant: Mutant, pipe: int) -> None:
        """Be the child: never returns."""
        gc.disable()
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_OF_CPU_MAX)
        try:
            mutant.apply()
            answer = json.dumps(self._first_failure())
        except BaseException as error:  # noqa: BLE001  the parent tells
            answer = json.dumps({"failure": repr(error)})
        os.write(pipe, answer.encode())
        os._exit(0)

    def _first_failure(self) -> dict[str, Any]:
        with Recorder() as recorder:
            for place, example in enumerate(self._order):
                recorder.decisions = []
                try:
                    example.run()
                except BaseException:  # noqa: BLE001  whatever it is, the mutant was noticed
                    before = self.baseline[example.name]
                    pairs = zip(before, recorder.decisions, strict=False)
                    changed = {name for was, now in pairs for name in was | now if was.get(name) != now.get(name)}
                    return {"place": place, "checks": sorted(changed)}
        return {"place": None}
