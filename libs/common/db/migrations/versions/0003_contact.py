"""When we were looking at a source; raw payloads found by age."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "source_contact",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("wallet", sa.String(length=42), nullable=True),
        sa.Column("way", sa.String(length=8), nullable=False),
        sa.Column("instance", sa.String(length=60), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("through", sa.DateTime(timezone=True), nullable=False),
        sa.Column("known_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("patience_seconds", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("ended_by", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("source_contact_through", "source_contact", ["source", "wallet", "through"], unique=False)
    op.drop_index("ix_event_sighting_seen_at", table_name="event_sighting")
    op.create_index(
        "event_sighting_kept",
        "event_sighting",
        ["seen_at"],
        unique=False,
        postgresql_where=sa.text("payload IS NOT NULL"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("event_sighting_kept", table_name="event_sighting")
    op.create_index("ix_event_sighting_seen_at", "event_sighting", ["seen_at"], unique=False)
    op.drop_table("source_contact")
