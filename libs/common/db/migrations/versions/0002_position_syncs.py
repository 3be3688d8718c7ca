"""Opening positions and re-syncs, and an index that finds conversions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "position_sync",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("wallet", sa.String(length=42), nullable=False),
        sa.Column("condition_id", sa.String(length=80), nullable=False),
        sa.Column("asset_id", sa.String(length=100), nullable=False),
        sa.Column("share_delta_micros", sa.BigInteger(), nullable=False),
        sa.Column("cash_delta_micros", sa.BigInteger(), nullable=False),
        sa.Column("price_micros", sa.BigInteger(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("ref_id", sa.String(length=140), nullable=False),
        sa.Column("tx_hash", sa.String(length=66), nullable=True),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detect_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["followed_user.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("position_sync_wallet", "position_sync", ["wallet", "asset_id"], unique=False)
    op.create_index("position_sync_event", "position_sync", ["event_id"], unique=False)
    op.create_index("position_sync_detected", "position_sync", ["detect_time"], unique=False)
    op.create_index(
        "activity_event_conversion",
        "activity_event",
        ["wallet"],
        unique=False,
        postgresql_where=sa.text("kind = 'CONVERSION'"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("activity_event_conversion", table_name="activity_event")
    op.drop_table("position_sync")
