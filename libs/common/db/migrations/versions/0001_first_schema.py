"""First schema: every table of the pipeline."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_audit_log_at"), "audit_log", ["at"], unique=False)
    op.create_table(
        "book_snapshot",
        sa.Column("asset_id", sa.String(length=100), nullable=False),
        sa.Column("hash", sa.String(length=80), nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger(), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("bids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("asks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("asset_id", "hash"),
    )
    op.create_table(
        "control_flag",
        sa.Column("key", sa.String(length=60), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("stream", sa.String(length=60), nullable=False),
        sa.Column("group_name", sa.String(length=60), nullable=False),
        sa.Column("message_id", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=160), nullable=True),
        sa.Column("payload", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("traceback", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(length=9), nullable=False),
        sa.Column("status_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status_reason", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("dead_letter_open", "dead_letter", ["stream", "group_name", "status"], unique=False)
    op.create_index("dead_letter_subject", "dead_letter", ["subject"], unique=False)
    op.create_table(
        "event_sighting",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("share_micros", sa.BigInteger(), nullable=False),
        sa.Column("usdc_micros", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("event_id", "source"),
    )
    op.create_index(op.f("ix_event_sighting_seen_at"), "event_sighting", ["seen_at"], unique=False)
    op.create_table(
        "followed_user",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("label", sa.String(length=60), nullable=False),
        sa.Column("profile_wallet", sa.String(length=42), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("followed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unfollowed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("label"),
        sa.UniqueConstraint("profile_wallet"),
    )
    op.create_table(
        "market",
        sa.Column("condition_id", sa.String(length=80), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("question", sa.String(), nullable=False),
        sa.Column("slug", sa.String(), nullable=False),
        sa.Column("close_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("accepting_orders", sa.Boolean(), nullable=False),
        sa.Column("neg_risk", sa.Boolean(), nullable=False),
        sa.Column("fee_rate", sa.Numeric(), nullable=False),
        sa.Column("fee_exponent", sa.Numeric(), nullable=False),
        sa.Column("tick_micros", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.String(length=10), nullable=False),
        sa.Column("resolved", sa.Boolean(), nullable=False),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("condition_id"),
        sa.UniqueConstraint("id"),
    )
    op.create_table(
        "market_price_snapshot",
        sa.Column("asset_id", sa.String(length=100), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("price_micros", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=12), nullable=False),
        sa.PrimaryKeyConstraint("asset_id", "at"),
    )
    op.create_table(
        "market_resolution",
        sa.Column("condition_id", sa.String(length=80), nullable=False),
        sa.Column("payouts_micros", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("condition_id"),
    )
    op.create_table(
        "system_checkpoint",
        sa.Column("service", sa.String(length=30), nullable=False),
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("service", "key"),
    )
    op.create_table(
        "activity_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("wallet", sa.String(length=42), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("condition_id", sa.String(length=80), nullable=False),
        sa.Column("asset_id", sa.String(length=100), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("share_micros", sa.BigInteger(), nullable=False),
        sa.Column("usdc_micros", sa.BigInteger(), nullable=False),
        sa.Column("tx_hash", sa.String(length=66), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detect_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(length=9), nullable=False),
        sa.Column("booked", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "tx_hash",
            "wallet",
            "type",
            "condition_id",
            "asset_id",
            "side",
            "share_micros",
            "usdc_micros",
            "ordinal",
            name="activity_event_facts",
        ),
    )
    op.create_index("activity_event_detected", "activity_event", ["detect_time"], unique=False)
    op.create_index(
        "activity_event_key", "activity_event", ["user_id", "condition_id", "kind", "detect_time"], unique=False
    )
    op.create_index("activity_event_wallet_time", "activity_event", ["wallet", "event_time"], unique=False)
    op.create_table(
        "copy_sizing_config",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(length=6), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("values", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("scope", "user_id", postgresql_nulls_not_distinct=True),
    )
    op.create_table(
        "effective_config",
        sa.Column("version", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("scope", sa.String(length=6), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("values", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_index("effective_config_latest", "effective_config", ["scope", "user_id", "version"], unique=False)
    op.create_table(
        "event_group",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=5), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("condition_id", sa.String(length=80), nullable=True),
        sa.Column("asset_id", sa.String(length=100), nullable=True),
        sa.Column("side", sa.String(length=4), nullable=True),
        sa.Column("share_micros", sa.BigInteger(), nullable=False),
        sa.Column("usdc_notional_micros", sa.BigInteger(), nullable=False),
        sa.Column("reference_price_micros", sa.BigInteger(), nullable=True),
        sa.Column("first_event_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_detect_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_ordinal", sa.Integer(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "event_group_order",
        "event_group",
        ["first_detect_time", "first_event_time", "first_ordinal", "id"],
        unique=False,
    )
    op.create_index(
        "event_group_user_order",
        "event_group",
        ["user_id", "first_detect_time", "first_event_time", "first_ordinal", "id"],
        unique=False,
    )
    op.create_table(
        "followed_user_proxy_wallet",
        sa.Column("wallet", sa.String(length=42), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("followed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unfollowed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("wallet"),
    )
    op.create_index(
        op.f("ix_followed_user_proxy_wallet_user_id"), "followed_user_proxy_wallet", ["user_id"], unique=False
    )
    op.create_table(
        "guardrail_config",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(length=6), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("values", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("scope", "user_id", postgresql_nulls_not_distinct=True),
    )
    op.create_table(
        "outcome_asset",
        sa.Column("asset_id", sa.String(length=100), nullable=False),
        sa.Column("condition_id", sa.String(length=80), nullable=False),
        sa.Column("outcome_index", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["condition_id"],
            ["market.condition_id"],
        ),
        sa.PrimaryKeyConstraint("asset_id"),
    )
    op.create_index(op.f("ix_outcome_asset_condition_id"), "outcome_asset", ["condition_id"], unique=False)
    op.create_table(
        "portfolio",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(length=11), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cash_micros", sa.BigInteger(), nullable=False),
        sa.Column("deposits_micros", sa.BigInteger(), nullable=False),
        sa.Column("withdrawals_micros", sa.BigInteger(), nullable=False),
        sa.Column("fees_micros", sa.BigInteger(), nullable=False),
        sa.Column("realized_pnl_micros", sa.BigInteger(), nullable=False),
        sa.Column("decision_seq", sa.BigInteger(), nullable=False),
        sa.Column("decided_through", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_first_detect_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_first_event_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_first_ordinal", sa.Integer(), nullable=True),
        sa.Column("last_group_id", sa.Uuid(), nullable=True),
        sa.Column("peak_equity_micros", sa.BigInteger(), nullable=True),
        sa.Column("drawdown_tripped", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("scope", "user_id", postgresql_nulls_not_distinct=True),
    )
    op.create_table(
        "position_source",
        sa.Column("asset_id", sa.String(length=100), nullable=False),
        sa.Column("source_user_id", sa.Uuid(), nullable=False),
        sa.Column("share_micros", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("asset_id", "source_user_id"),
    )
    op.create_table(
        "trade_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("wallet", sa.String(length=42), nullable=False),
        sa.Column("asset_id", sa.String(length=100), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("share_micros", sa.BigInteger(), nullable=False),
        sa.Column("price_micros", sa.BigInteger(), nullable=False),
        sa.Column("usdc_notional_micros", sa.BigInteger(), nullable=False),
        sa.Column("fee_micros", sa.BigInteger(), nullable=False),
        sa.Column("tx_hash", sa.String(length=66), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=5), nullable=True),
        sa.Column("log_index", sa.Integer(), nullable=True),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.String(length=66), nullable=True),
        sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detect_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_source", sa.String(length=8), nullable=False),
        sa.Column("status", sa.String(length=9), nullable=False),
        sa.Column("booked", sa.Boolean(), nullable=False),
        sa.Column("mismatch", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tx_hash", "wallet", "asset_id", "side", "share_micros", "ordinal", "incarnation"),
    )
    op.create_index("trade_event_asset", "trade_event", ["asset_id"], unique=False)
    op.create_index("trade_event_detected", "trade_event", ["detect_time"], unique=False)
    op.create_index("trade_event_key", "trade_event", ["user_id", "asset_id", "side", "detect_time"], unique=False)
    op.create_index(
        "trade_event_log",
        "trade_event",
        ["tx_hash", "log_index", "incarnation"],
        unique=True,
        postgresql_where=sa.text("log_index IS NOT NULL"),
    )
    op.create_index("trade_event_wallet_time", "trade_event", ["wallet", "event_time"], unique=False)
    op.create_table(
        "copy_attempt",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("portfolio_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.String(length=11), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=5), nullable=False),
        sa.Column("condition_id", sa.String(length=80), nullable=True),
        sa.Column("asset_id", sa.String(length=100), nullable=True),
        sa.Column("side", sa.String(length=4), nullable=True),
        sa.Column("decision", sa.String(length=7), nullable=False),
        sa.Column("reason_codes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("out_of_order", sa.Boolean(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("book_hash", sa.String(length=80), nullable=True),
        sa.Column("book_fetched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("best_bid_micros", sa.BigInteger(), nullable=True),
        sa.Column("best_ask_micros", sa.BigInteger(), nullable=True),
        sa.Column("mid_price_micros", sa.BigInteger(), nullable=True),
        sa.Column("their_reference_price_micros", sa.BigInteger(), nullable=True),
        sa.Column("limit_price_micros", sa.BigInteger(), nullable=True),
        sa.Column("depth_micros", sa.BigInteger(), nullable=True),
        sa.Column("target_notional_micros", sa.BigInteger(), nullable=True),
        sa.Column("filled_share_micros", sa.BigInteger(), nullable=False),
        sa.Column("filled_notional_micros", sa.BigInteger(), nullable=False),
        sa.Column("vwap_price_micros", sa.BigInteger(), nullable=True),
        sa.Column("fee_micros", sa.BigInteger(), nullable=False),
        sa.Column("fee_rate", sa.Numeric(), nullable=True),
        sa.Column("cash_micros", sa.BigInteger(), nullable=True),
        sa.Column("equity_micros", sa.BigInteger(), nullable=True),
        sa.Column("held_share_micros", sa.BigInteger(), nullable=True),
        sa.Column("exposure_total_micros", sa.BigInteger(), nullable=True),
        sa.Column("exposure_market_micros", sa.BigInteger(), nullable=True),
        sa.Column("exposure_user_micros", sa.BigInteger(), nullable=True),
        sa.Column("day_start_equity_micros", sa.BigInteger(), nullable=True),
        sa.Column("week_start_equity_micros", sa.BigInteger(), nullable=True),
        sa.Column("peak_equity_micros", sa.BigInteger(), nullable=True),
        sa.Column("counterfactual_share_micros", sa.BigInteger(), nullable=True),
        sa.Column("counterfactual_notional_micros", sa.BigInteger(), nullable=True),
        sa.Column("config_version", sa.BigInteger(), nullable=True),
        sa.Column("inputs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("checks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["event_group.id"],
        ),
        sa.ForeignKeyConstraint(
            ["portfolio_id"],
            ["portfolio.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("portfolio_id", "seq"),
        sa.UniqueConstraint("scope", "group_id"),
    )
    op.create_index(
        "copy_attempt_book",
        "copy_attempt",
        ["portfolio_id", "asset_id", "book_hash"],
        unique=False,
        postgresql_where=sa.text("decision = 'EXECUTE'"),
    )
    op.create_index("copy_attempt_recent", "copy_attempt", ["scope", "decided_at"], unique=False)
    op.create_index(
        "copy_attempt_unposted",
        "copy_attempt",
        ["portfolio_id"],
        unique=False,
        postgresql_where=sa.text("posted_at IS NULL AND decision = 'EXECUTE'"),
    )
    op.create_index("copy_attempt_user", "copy_attempt", ["user_id", "scope", "decided_at"], unique=False)
    op.create_index(op.f("ix_copy_attempt_group_id"), "copy_attempt", ["group_id"], unique=False)
    op.create_table(
        "event_group_member",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["event_group.id"],
        ),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index(op.f("ix_event_group_member_group_id"), "event_group_member", ["group_id"], unique=False)
    op.create_table(
        "group_book",
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("claimed_by", sa.String(length=60), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asset_id", sa.String(length=100), nullable=False),
        sa.Column("book_hash", sa.String(length=80), nullable=True),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["event_group.id"],
        ),
        sa.PrimaryKeyConstraint("group_id"),
    )
    op.create_table(
        "ledger_entry",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("portfolio_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(length=11), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("source_user_id", sa.Uuid(), nullable=True),
        sa.Column("condition_id", sa.String(length=80), nullable=True),
        sa.Column("asset_id", sa.String(length=100), nullable=True),
        sa.Column("entry_type", sa.String(length=10), nullable=False),
        sa.Column("share_delta_micros", sa.BigInteger(), nullable=False),
        sa.Column("cash_delta_micros", sa.BigInteger(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=True),
        sa.Column("price_micros", sa.BigInteger(), nullable=True),
        sa.Column("ref_id", sa.String(length=140), nullable=False),
        sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tx_hash", sa.String(length=66), nullable=True),
        sa.Column("log_index", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reverses", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["portfolio_id"],
            ["portfolio.id"],
        ),
        sa.ForeignKeyConstraint(
            ["source_user_id"],
            ["followed_user.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["followed_user.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "scope",
            "user_id",
            "ref_id",
            "entry_type",
            "asset_id",
            name="ledger_entry_key",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index("ledger_entry_position", "ledger_entry", ["portfolio_id", "asset_id"], unique=False)
    op.create_index("ledger_entry_ref", "ledger_entry", ["ref_id"], unique=False)
    op.create_index("ledger_entry_seq", "ledger_entry", ["seq"], unique=True)
    op.create_table(
        "portfolio_snapshot",
        sa.Column("portfolio_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("equity_micros", sa.BigInteger(), nullable=False),
        sa.Column("cash_micros", sa.BigInteger(), nullable=False),
        sa.Column("exposure_micros", sa.BigInteger(), nullable=False),
        sa.Column("unrealized_pnl_micros", sa.BigInteger(), nullable=False),
        sa.Column("realized_pnl_micros", sa.BigInteger(), nullable=False),
        sa.Column("deposits_micros", sa.BigInteger(), nullable=False),
        sa.Column("withdrawals_micros", sa.BigInteger(), nullable=False),
        sa.Column("fees_micros", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["portfolio_id"],
            ["portfolio.id"],
        ),
        sa.PrimaryKeyConstraint("portfolio_id", "at"),
    )
    op.create_table(
        "position",
        sa.Column("portfolio_id", sa.Uuid(), nullable=False),
        sa.Column("asset_id", sa.String(length=100), nullable=False),
        sa.Column("condition_id", sa.String(length=80), nullable=True),
        sa.Column("share_micros", sa.BigInteger(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("realized_pnl_micros", sa.BigInteger(), nullable=False),
        sa.Column("flags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("folded_event_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("folded_tx_hash", sa.String(length=66), nullable=True),
        sa.Column("folded_log_index", sa.Integer(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["portfolio_id"],
            ["portfolio.id"],
        ),
        sa.PrimaryKeyConstraint("portfolio_id", "asset_id"),
    )
    op.create_index("position_asset", "position", ["asset_id"], unique=False)
    op.create_index("position_condition", "position", ["condition_id"], unique=False)
    op.create_index(
        "position_open", "position", ["portfolio_id"], unique=False, postgresql_where=sa.text("share_micros <> 0")
    )
    op.create_table(
        "executable_fill",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("share_micros", sa.BigInteger(), nullable=False),
        sa.Column("price_micros", sa.BigInteger(), nullable=False),
        sa.Column("notional_micros", sa.BigInteger(), nullable=False),
        sa.Column("fee_micros", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["copy_attempt.id"],
        ),
        sa.PrimaryKeyConstraint("attempt_id", "level"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("executable_fill")
    op.drop_index("position_open", table_name="position", postgresql_where=sa.text("share_micros <> 0"))
    op.drop_index("position_condition", table_name="position")
    op.drop_index("position_asset", table_name="position")
    op.drop_table("position")
    op.drop_table("portfolio_snapshot")
    op.drop_index("ledger_entry_seq", table_name="ledger_entry")
    op.drop_index("ledger_entry_ref", table_name="ledger_entry")
    op.drop_index("ledger_entry_position", table_name="ledger_entry")
    op.drop_table("ledger_entry")
    op.drop_table("group_book")
    op.drop_index(op.f("ix_event_group_member_group_id"), table_name="event_group_member")
    op.drop_table("event_group_member")
    op.drop_index(op.f("ix_copy_attempt_group_id"), table_name="copy_attempt")
    op.drop_index("copy_attempt_user", table_name="copy_attempt")
    op.drop_index(
        "copy_attempt_unposted",
        table_name="copy_attempt",
        postgresql_where=sa.text("posted_at IS NULL AND decision = 'EXECUTE'"),
    )
    op.drop_index("copy_attempt_recent", table_name="copy_attempt")
    op.drop_index("copy_attempt_book", table_name="copy_attempt", postgresql_where=sa.text("decision = 'EXECUTE'"))
    op.drop_table("copy_attempt")
    op.drop_index("trade_event_wallet_time", table_name="trade_event")
    op.drop_index("trade_event_log", table_name="trade_event", postgresql_where=sa.text("log_index IS NOT NULL"))
    op.drop_index("trade_event_key", table_name="trade_event")
    op.drop_index("trade_event_detected", table_name="trade_event")
    op.drop_index("trade_event_asset", table_name="trade_event")
    op.drop_table("trade_event")
    op.drop_table("position_source")
    op.drop_table("portfolio")
    op.drop_index(op.f("ix_outcome_asset_condition_id"), table_name="outcome_asset")
    op.drop_table("outcome_asset")
    op.drop_table("guardrail_config")
    op.drop_index(op.f("ix_followed_user_proxy_wallet_user_id"), table_name="followed_user_proxy_wallet")
    op.drop_table("followed_user_proxy_wallet")
    op.drop_index("event_group_user_order", table_name="event_group")
    op.drop_index("event_group_order", table_name="event_group")
    op.drop_table("event_group")
    op.drop_index("effective_config_latest", table_name="effective_config")
    op.drop_table("effective_config")
    op.drop_table("copy_sizing_config")
    op.drop_index("activity_event_wallet_time", table_name="activity_event")
    op.drop_index("activity_event_key", table_name="activity_event")
    op.drop_index("activity_event_detected", table_name="activity_event")
    op.drop_table("activity_event")
    op.drop_table("system_checkpoint")
    op.drop_table("market_resolution")
    op.drop_table("market_price_snapshot")
    op.drop_table("market")
    op.drop_table("followed_user")
    op.drop_index(op.f("ix_event_sighting_seen_at"), table_name="event_sighting")
    op.drop_table("event_sighting")
    op.drop_index("dead_letter_subject", table_name="dead_letter")
    op.drop_index("dead_letter_open", table_name="dead_letter")
    op.drop_table("dead_letter")
    op.drop_table("control_flag")
    op.drop_table("book_snapshot")
    op.drop_index(op.f("ix_audit_log_at"), table_name="audit_log")
    op.drop_table("audit_log")
