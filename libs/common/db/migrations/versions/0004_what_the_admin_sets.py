"""The blacklist of markets, and which reset of a portfolio's drawdown breaker was carried out last."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "market_blacklist",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("condition_id", sa.String(length=80), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("listed", sa.Boolean(), nullable=True),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["followed_user.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("condition_id", "user_id", postgresql_nulls_not_distinct=True),
    )
    op.add_column("portfolio", sa.Column("drawdown_reset_at", sa.DateTime(timezone=True), nullable=True))
    # Resets from before were carried out by time: those stay carried out.
    op.execute(
        "UPDATE portfolio p SET drawdown_reset_at = f.updated_at FROM control_flag f "
        "WHERE f.key = 'breaker_reset:' || CAST(p.id AS text)"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("portfolio", "drawdown_reset_at")
    op.drop_table("market_blacklist")
