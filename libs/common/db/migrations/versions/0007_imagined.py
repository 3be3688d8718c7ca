"""Assets of skips that say what they would have filled, found without reading attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index(
        "copy_attempt_imagined",
        "copy_attempt",
        ["asset_id"],
        unique=False,
        postgresql_where=sa.text("counterfactual_share_micros > 0"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("copy_attempt_imagined", table_name="copy_attempt")
