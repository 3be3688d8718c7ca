"""How tests are spread over workers: by whole files, in the order of `ORDER`.

A file stays together, because its tests share what is dear to start; and the files that look at the same plays of
tapes stay together, because only a session shares those. They come first and mostly wait, while another worker works.
"""

from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

PLAYS: Final = tuple(f"tests/e2e/test_tape_{name}.py" for name in ("short", "disturbed", "shared", "edges", "endings"))
ORDER: Final = (*PLAYS, "tests/integration/test_probe", "tests/integration", "tests/chaos", "tests/e2e")
"""Beginnings of paths. What mostly waits runs beside the plays, what starts stacks and browsers of its own only after
them: on two cores they would make each other late. All else is short and comes last."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # a library without type information
    """Gives each worker whole files in the order of collection."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # by the number of tests, which says little about how long they take

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "plays" if file in PLAYS else file


def rank(nodeid: str) -> int:
    """Return the place of a test in the order in which work is given out."""
    places = (place for place, start in enumerate(ORDER) if nodeid.startswith(start))
    return next(places, len(ORDER))
