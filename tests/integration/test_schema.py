"""The schema: up, down, up again; models and migrations agree; each role may do its work and nothing else."""

from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from libs.common.db import migrate
from libs.common.db.checkpoints import load_checkpoint, save_checkpoint
from libs.common.db.engine import transaction
from libs.common.db.tables import metadata
from tests.support.databases import Database

pytestmark = pytest.mark.integration


async def tables(database: Database) -> set[str]:
    async with database.engine().connect() as connection:
        return set(await connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")))


async def test_migrations_go_up_down_and_up_again(database: Database) -> None:
    full = await tables(database)
    await migrate.downgrade(database.url())
    assert await tables(database) == {"alembic_version"}
    await migrate.upgrade(database.url())
    assert await tables(database) == full
    assert full >= set(metadata.tables)


async def test_models_and_migrations_agree(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.engine().connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_database_newer_than_the_code_is_refused_and_untouched(database: Database) -> None:
    async with transaction(database.engine()) as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(migrate.DatabaseIsNewerError, match=r"9999.*newer Shadowbook"):
        await migrate.upgrade(database.url())
    async with database.engine().connect() as connection:
        assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


WRITERS = {
    "trade_event": {"ingest"},
    "activity_event": {"ingest"},
    "event_sighting": {"ingest"},
    "position_sync": {"ingest"},
    "source_contact": {"ingest"},
    "followed_user": {"ingest"},
    "followed_user_proxy_wallet": {"ingest"},
    "market": {"ingest"},
    "outcome_asset": {"ingest"},
    "event_group": {"grouper"},
    "event_group_member": {"grouper"},
    "book_snapshot": {"simulator"},
    "group_book": {"simulator"},
    "copy_attempt": {"simulator"},
    "executable_fill": {"simulator"},
    "effective_config": {"simulator"},
    "ledger_entry": {"ledger"},
    "portfolio": {"ledger"},
    "position": {"ledger"},
    "position_source": {"ledger"},
    "entry_place": {"ledger"},
    "waiting_event": {"ledger"},
    "portfolio_snapshot": {"ledger"},
    "market_price_snapshot": {"pricer"},
    "market_resolution": {"pricer"},
    "guardrail_config": {"ui"},
    "copy_sizing_config": {"ui"},
    "market_blacklist": {"ui"},
    "control_flag": {"ui"},
    "config_test_run": {"ui"},
    "system_checkpoint": set(migrate.SERVICES),
    "audit_log": set(migrate.SERVICES),
    "dead_letter": set(migrate.SERVICES),
}


async def test_each_table_has_its_one_writing_service(database: Database) -> None:
    query = text("SELECT has_any_column_privilege(:role, :table, 'INSERT')")
    async with database.engine().connect() as connection:
        for table in metadata.tables:
            may = {
                service
                for service in migrate.SERVICES
                if await connection.scalar(query, {"role": migrate.role_of(service), "table": f"public.{table}"})
            }
            assert may == WRITERS[table], table


@pytest.mark.parametrize("table", ["audit_log", "dead_letter", "ledger_entry", "event_group", "event_group_member"])
async def test_nobody_may_change_or_delete_history(database: Database, table: str) -> None:
    async with database.engine().connect() as connection:
        for service in migrate.SERVICES:
            for privilege in ("UPDATE", "DELETE", "TRUNCATE"):
                query = text("SELECT has_table_privilege(:role, :table, :privilege)")
                role = migrate.role_of(service)
                assert not await connection.scalar(query, {"role": role, "table": table, "privilege": privilege})


@pytest.mark.parametrize("table", ["ledger_entry", "copy_attempt", "trade_event", "activity_event"])
async def test_the_ui_is_refused_by_the_database_itself(database: Database, table: str) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        async with transaction(database.engine("ui")) as connection:
            await connection.execute(text(f"INSERT INTO {table} DEFAULT VALUES"))


async def test_a_service_writes_only_checkpoints_that_bear_its_name(database: Database) -> None:
    async with transaction(database.engine("pricer")) as connection:
        await save_checkpoint(connection, "pricer", "marking", {"completed_at": datetime.now(UTC).isoformat()})
    with pytest.raises(DBAPIError, match="row-level security"):
        async with transaction(database.engine("pricer")) as connection:
            await save_checkpoint(connection, "ingest", "poll:0x", {})
    async with transaction(database.engine("ui")) as connection:
        assert await load_checkpoint(connection, "pricer", "marking")
