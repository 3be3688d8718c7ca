"""What keeps the cost of a fill the same after months: a base to fold late entries from, and indexes that end in time.

Documents that are kept are compressed by lz4 where the server has it: as small and several times cheaper.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_DOCUMENTS = {"copy_attempt": ("inputs", "checks"), "book_snapshot": ("bids", "asks")}
_BUSY = {
    "position": "fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05",
    "portfolio": "fillfactor = 50",
    "portfolio_snapshot": "autovacuum_vacuum_scale_factor = 0.05",
    "system_checkpoint": "fillfactor = 50",
    "copy_attempt": "autovacuum_vacuum_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05",
}
"""Where rows change after they are written."""


def upgrade() -> None:
    """Apply."""
    op.add_column("position", sa.Column("base_before", sa.DateTime(timezone=True), nullable=True))
    for name in ("base_share_micros", "base_cost_micros", "base_realized_pnl_micros"):
        op.add_column("position", sa.Column(name, sa.BigInteger(), nullable=True))
    op.drop_index("ledger_entry_position", table_name="ledger_entry")
    op.create_index("ledger_entry_position", "ledger_entry", ["portfolio_id", "asset_id", "event_time"], unique=False)
    op.drop_index("trade_event_asset", table_name="trade_event")
    op.create_index("trade_event_asset", "trade_event", ["asset_id", "detect_time"], unique=False)
    op.create_index(
        "position_closed",
        "position",
        ["portfolio_id", "updated_at"],
        unique=False,
        postgresql_where=sa.text("share_micros = 0"),
    )
    _compress("lz4")
    for table, settings in _BUSY.items():
        op.execute(f"ALTER TABLE {table} SET ({settings})")


def downgrade() -> None:
    """Take back."""
    for table, settings in _BUSY.items():
        names = ", ".join(setting.split(" ")[0] for setting in settings.split(", "))
        op.execute(f"ALTER TABLE {table} RESET ({names})")
    _compress("default")
    op.drop_index("position_closed", table_name="position", postgresql_where=sa.text("share_micros = 0"))
    op.drop_index("trade_event_asset", table_name="trade_event")
    op.create_index("trade_event_asset", "trade_event", ["asset_id"], unique=False)
    op.drop_index("ledger_entry_position", table_name="ledger_entry")
    op.create_index("ledger_entry_position", "ledger_entry", ["portfolio_id", "asset_id"], unique=False)
    for name in ("base_realized_pnl_micros", "base_cost_micros", "base_share_micros", "base_before"):
        op.drop_column("position", name)


def _compress(method: str) -> None:
    for table, columns in _DOCUMENTS.items():
        changes = ", ".join(f"ALTER COLUMN {column} SET COMPRESSION {method}" for column in columns)
        op.execute(f"""
            DO $$ BEGIN
              IF EXISTS (SELECT FROM pg_settings
                         WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)) THEN
                ALTER TABLE {table} {changes};
              END IF;
            END $$""")
