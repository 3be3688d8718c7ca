"""What tests on real databases share."""

import pytest

from tests.support.databases import Database
from tests.support.simulator_world import World


@pytest.fixture
async def world(database: Database) -> World:
    """Two followed users, their portfolios, a configuration and one market, as simulators find them."""
    found = World(database)
    await found.open()
    return found
