"""Where fills stand that were posted before their log told: positions fold in the order of the logs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What was folded in order of arrival so far: `verify` names the positions, `rebuild` folds them again.
BACKFILL = """
INSERT INTO entry_place (ref_id, log_index, placed_at)
SELECT l.ref_id, t.log_index, clock_timestamp()
FROM trade_event t JOIN ledger_entry l ON l.ref_id = t.id::text
WHERE t.first_source = 'DATA_API' AND l.scope = 'SHADOW_USER' AND l.entry_type = 'TRADE_FILL'
  AND l.log_index <> t.log_index
"""


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "entry_place",
        sa.Column("ref_id", sa.String(length=140), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ref_id"),
    )
    op.execute(BACKFILL)
    op.drop_column("position", "folded_log_index")


def downgrade() -> None:
    """Take back."""
    op.add_column("position", sa.Column("folded_log_index", sa.Integer(), nullable=True))
    op.drop_table("entry_place")
