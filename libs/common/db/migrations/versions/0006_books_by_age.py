"""Books and their claims found by age."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("book_snapshot_kept", "book_snapshot", ["fetched_at"], unique=False)
    op.create_index("group_book_kept", "group_book", ["claimed_at"], unique=False)


def downgrade() -> None:
    """Take back."""
    op.drop_index("group_book_kept", table_name="group_book")
    op.drop_index("book_snapshot_kept", table_name="book_snapshot")
