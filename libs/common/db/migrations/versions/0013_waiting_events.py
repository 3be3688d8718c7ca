"""Splits and merges that wait for their market wait in a table, not on the stream."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "waiting_event",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("condition_id", sa.String(length=80), nullable=False),
        sa.Column("waits_since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )


def downgrade() -> None:
    """Take back; what waits is swept again, from the beginning on."""
    op.execute("DELETE FROM system_checkpoint WHERE service = 'ledger' AND key = 'events-swept'")
    op.drop_table("waiting_event")
