"""The key of entries begins with their ref, so that looking for a ref needs no index of its own."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_KEY = ("ref_id", "scope", "user_id", "entry_type", "asset_id")
_BEFORE = ("scope", "user_id", "ref_id", "entry_type", "asset_id")


def upgrade() -> None:
    """Apply."""
    _key(_KEY)
    op.drop_index("ledger_entry_ref", table_name="ledger_entry")


def downgrade() -> None:
    """Take back."""
    op.create_index("ledger_entry_ref", "ledger_entry", ["ref_id"], unique=False)
    _key(_BEFORE)


def _key(columns: tuple[str, ...]) -> None:
    op.drop_constraint("ledger_entry_key", "ledger_entry", type_="unique")
    op.create_unique_constraint("ledger_entry_key", "ledger_entry", list(columns), postgresql_nulls_not_distinct=True)
