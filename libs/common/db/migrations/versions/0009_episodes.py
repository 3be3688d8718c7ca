"""Episodes of positions, from flat to flat: how many closed, how many won, and the result of the newest."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS = ("episodes_closed", "episodes_won", "episode_result_micros")
# What the ledger folds from now on, counted once for what is there: `libs.common.domain.episodes` says what is meant.
# An entry that crosses zero is two parts, shared by shares. The result of an open episode is what is realised beyond
# the episodes before it.
BACKFILL = """
WITH entries AS (
  SELECT e.portfolio_id, e.asset_id, e.entry_type = 'FEE' AS is_fee, e.share_delta_micros AS delta,
         coalesce(e.cost_micros, -e.cash_delta_micros) AS basis,
         row_number() OVER (
           PARTITION BY e.portfolio_id, e.asset_id
           ORDER BY CASE WHEN e.scope = 'SHADOW_USER' THEN e.event_time END,
                    CASE WHEN e.scope = 'SHADOW_USER' THEN e.tx_hash IS NULL END,
                    CASE WHEN e.scope = 'SHADOW_USER' THEN coalesce(e.tx_hash, '') END COLLATE "C",
                    CASE WHEN e.scope = 'SHADOW_USER' THEN coalesce(e.log_index, -1) END, e.seq) AS place
  FROM ledger_entry e
  WHERE e.asset_id IS NOT NULL AND e.reverses IS NULL
    AND NOT EXISTS (SELECT FROM ledger_entry r WHERE r.reverses = e.id)
), running AS (
  SELECT *, sum(delta) OVER w AS after, sum(delta) OVER w - delta AS before FROM entries
  WINDOW w AS (PARTITION BY portfolio_id, asset_id ORDER BY place)
), numbered AS (
  SELECT *, delta <> 0 AND sign(before) <> 0 AND sign(before) <> sign(after) AS ends,
         count(*) FILTER (WHERE delta <> 0 AND sign(before) <> 0 AND sign(before) <> sign(after))
           OVER (PARTITION BY portfolio_id, asset_id ORDER BY place) AS ended
  FROM running
), parts AS (
  SELECT n.portfolio_id, n.asset_id, n.is_fee, part.episode, part.amount
  FROM numbered n
  CROSS JOIN LATERAL (
    SELECT sign(n.basis) * div(abs(n.basis) * abs(n.before), abs(n.delta)) AS closing
    FROM (SELECT) one WHERE n.ends AND n.after <> 0
    UNION ALL SELECT n.basis WHERE NOT (n.ends AND n.after <> 0)
  ) crossing
  CROSS JOIN LATERAL (
    SELECT n.ended - CASE WHEN n.ends OR n.after = 0 THEN 1 ELSE 0 END AS episode, -crossing.closing AS amount
    UNION ALL SELECT n.ended, crossing.closing - n.basis WHERE n.ends AND n.after <> 0
  ) part
), episodes AS (
  SELECT portfolio_id, asset_id, episode, sum(amount) AS result, sum(amount) FILTER (WHERE NOT is_fee) AS before_fees,
         coalesce(sum(amount) FILTER (WHERE is_fee), 0) AS fees
  FROM parts GROUP BY portfolio_id, asset_id, episode
), places AS (
  SELECT portfolio_id, asset_id, max(ended) AS closed FROM numbered GROUP BY portfolio_id, asset_id
), records AS (
  SELECT portfolio_id, asset_id, k.closed,
         count(*) FILTER (WHERE e.episode >= 0 AND e.episode < k.closed AND e.result > 0) AS won,
         coalesce(sum(e.result) FILTER (WHERE e.episode >= 0 AND e.episode = k.closed - 1), 0) AS newest,
         coalesce(sum(e.fees) FILTER (WHERE e.episode = k.closed), 0)
           - coalesce(sum(e.before_fees) FILTER (WHERE e.episode <> k.closed), 0) AS beyond_realised
  FROM episodes e JOIN places k USING (portfolio_id, asset_id) GROUP BY portfolio_id, asset_id, k.closed
)
UPDATE position p SET
  episodes_closed = r.closed,
  episodes_won = r.won,
  episode_result_micros =
    CASE WHEN p.share_micros = 0 THEN r.newest ELSE p.realized_pnl_micros + r.beyond_realised END
FROM records r WHERE p.portfolio_id = r.portfolio_id AND p.asset_id = r.asset_id
"""


def upgrade() -> None:
    """Apply."""
    for name in COLUMNS:
        op.add_column("position", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
        op.add_column("position", sa.Column(f"base_{name}", sa.BigInteger(), nullable=True))
    op.execute(BACKFILL)
    op.execute("UPDATE position SET base_before = NULL")  # of bases nobody counted the episodes: they come again


def downgrade() -> None:
    """Take back."""
    for name in reversed(COLUMNS):
        op.drop_column("position", f"base_{name}")
        op.drop_column("position", name)
