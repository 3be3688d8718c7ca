"""Plays that several tests look at: those that the collected tests need start together, a few at a time."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.cases import SHORT
from tests.support.edge_play import EdgePlay, play_edges
from tests.support.edge_tape import write_edge_tape
from tests.support.endings_tape import SPEED as ENDINGS_SPEED
from tests.support.endings_tape import write_endings_tape
from tests.support.plays import Played, Plays, play_through, with_kills, without_websocket
from tests.support.tapes import write_tape

TAPES = Path(__file__).parents[3] / "shared" / "tapes"


@pytest.fixture(scope="session")
def short_tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tape of our own."""
    return write_tape(tmp_path_factory.mktemp("tape"))


@pytest.fixture(scope="session")
def edge_tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tape that sits on every edge."""
    return write_edge_tape(tmp_path_factory.mktemp("edge_tape"))


@pytest.fixture(scope="session")
def endings_tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tape of markets that end in every way."""
    return write_endings_tape(tmp_path_factory.mktemp("endings_tape"))


@pytest.fixture(scope="session")
def plays(
    request: pytest.FixtureRequest,
    short_tape: Path,
    edge_tape: Path,
    endings_tape: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Plays]:
    """Every play that a collected test needs, under way."""
    needed = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    known: dict[str, Callable[[Path, Path], Played]] = {
        "undisturbed": play_through,
        "unsocketed": without_websocket,
        "killed": with_kills,
        **{name: case.play for name, case in SHORT.items()},
    }
    running = Plays()
    if "edges" in needed:
        running.ask([("edges", partial(play_edges, edge_tape, tmp_path_factory.mktemp("edges")))])
    if "endings" in needed:
        endings_play = partial(play_through, endings_tape, tmp_path_factory.mktemp("endings"), speed=ENDINGS_SPEED)
        running.ask([("endings", endings_play)])
    running.ask(
        (name, partial(play, short_tape, tmp_path_factory.mktemp(name)))
        for name, play in known.items()
        if name in needed
    )
    for item in request.session.items:
        callspec = getattr(item, "callspec", None)
        name = callspec.params.get("recorded") if callspec else None
        if isinstance(name, str):  # with no tapes beside the project pytest puts a mark of its own here
            running.ask([(name, partial(play_through, TAPES / name, tmp_path_factory.mktemp(name)))])
    yield running
    running.close()


@pytest.fixture(scope="session")
def edges(plays: Plays) -> EdgePlay:
    """The edge tape, played at its own speed."""
    play = plays.result("edges")
    assert isinstance(play, EdgePlay)
    return play


@pytest.fixture(scope="session")
def endings(plays: Plays) -> Played:
    """The tape of endings, played with nothing in its way."""
    return plays.result("endings")


@pytest.fixture(scope="session")
def undisturbed(plays: Plays) -> Played:
    """The short tape, played with nothing in its way."""
    return plays.result("undisturbed")


@pytest.fixture(scope="session")
def unsocketed(plays: Plays) -> Played:
    """The short tape, played without the node's websocket."""
    return plays.result("unsocketed")


@pytest.fixture(scope="session")
def killed(plays: Plays) -> Played:
    """The short tape, played with every service killed once."""
    return plays.result("killed")


@pytest.fixture(scope="session")
def storm(plays: Plays) -> Played:
    """The short tape, played with every fault of the sandbox."""
    return plays.result("storm")


@pytest.fixture(scope="session")
def databases_killed(plays: Plays) -> Played:
    """The short tape, played with Postgres and Valkey killed."""
    return plays.result("databases_killed")


@pytest.fixture(scope="session")
def second_ingest(plays: Plays) -> Played:
    """The short tape, played by two ingests, with Valkey away for a while."""
    return plays.result("second_ingest")
