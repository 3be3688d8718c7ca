"""Fewer indexes in random order: each costs a page read and a whole page of log per row, the more the larger it is.

Ids of entries and fills are pure functions of their keys, so one unique index says what two did; attempts are looked up
by group and by group and scope, those to be posted in the order of their numbers.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_FILL = ("tx_hash", "wallet", "asset_id", "side", "share_micros", "ordinal", "incarnation")
_FILL_KEY = "trade_event_tx_hash_wallet_asset_id_side_share_micros_ordin_key"
_LOG = ("tx_hash", "log_index", "incarnation")


def upgrade() -> None:
    """Apply."""
    _primary_key_of_entries("seq")
    op.drop_index("ledger_entry_seq", table_name="ledger_entry")
    op.drop_index("trade_event_log", table_name="trade_event")
    op.create_index("trade_event_log", "trade_event", list(_LOG), unique=True)
    op.drop_constraint(op.f(_FILL_KEY), "trade_event", type_="unique")
    op.create_unique_constraint("copy_attempt_group_id_scope_key", "copy_attempt", ["group_id", "scope"])
    op.drop_constraint("copy_attempt_scope_group_id_key", "copy_attempt", type_="unique")
    op.drop_index(op.f("ix_copy_attempt_group_id"), table_name="copy_attempt")
    _unposted("portfolio_id", "seq")
    op.drop_index("position_asset", table_name="position")
    op.create_index("position_held", "position", ["asset_id"], postgresql_where=sa.text("share_micros <> 0"))


def downgrade() -> None:
    """Take back."""
    op.drop_index("position_held", table_name="position")
    op.create_index("position_asset", "position", ["asset_id"], unique=False)
    _unposted("portfolio_id")
    op.create_index(op.f("ix_copy_attempt_group_id"), "copy_attempt", ["group_id"], unique=False)
    op.create_unique_constraint("copy_attempt_scope_group_id_key", "copy_attempt", ["scope", "group_id"])
    op.drop_constraint("copy_attempt_group_id_scope_key", "copy_attempt", type_="unique")
    op.create_unique_constraint(op.f(_FILL_KEY), "trade_event", list(_FILL))
    op.drop_index("trade_event_log", table_name="trade_event")
    op.create_index(
        "trade_event_log", "trade_event", list(_LOG), unique=True, postgresql_where=sa.text("log_index IS NOT NULL")
    )
    op.create_index("ledger_entry_seq", "ledger_entry", ["seq"], unique=True)
    _primary_key_of_entries("id")


def _primary_key_of_entries(column: str) -> None:
    op.drop_constraint("ledger_entry_pkey", "ledger_entry", type_="primary")
    op.create_primary_key("ledger_entry_pkey", "ledger_entry", [column])


def _unposted(*columns: str) -> None:
    op.drop_index("copy_attempt_unposted", table_name="copy_attempt")
    op.create_index(
        "copy_attempt_unposted",
        "copy_attempt",
        list(columns),
        postgresql_where=sa.text("posted_at IS NULL AND decision = 'EXECUTE'"),
    )
