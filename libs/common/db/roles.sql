-- Who may do what. Every service has its own role; a table has one writing service. Applied after each upgrade, as the
-- owner, in one transaction; safe to apply again.

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

DO $$
DECLARE role_name text;
BEGIN
  FOREACH role_name IN ARRAY ARRAY['ingest', 'grouper', 'simulator', 'ledger', 'pricer', 'ui'] LOOP
    role_name := 'shadowbook_' || role_name;
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', role_name);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role_name);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA public TO %I', role_name);
    EXECUTE format('GRANT INSERT ON audit_log, dead_letter TO %I', role_name);
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON system_checkpoint TO %I', role_name);
  END LOOP;
END $$;

-- ingest: whom we follow, what they did, which markets it was in
GRANT INSERT, UPDATE ON followed_user, followed_user_proxy_wallet, market, outcome_asset TO shadowbook_ingest;
GRANT INSERT ON trade_event, activity_event, event_sighting, position_sync TO shadowbook_ingest;
GRANT UPDATE (role, log_index, block_number, block_hash, usdc_notional_micros, fee_micros, price_micros, event_time, status, mismatch)
  ON trade_event TO shadowbook_ingest;
GRANT UPDATE (status) ON activity_event TO shadowbook_ingest;
GRANT UPDATE (payload), DELETE ON event_sighting TO shadowbook_ingest;
GRANT INSERT ON source_contact TO shadowbook_ingest;
GRANT UPDATE (through, known_at, patience_seconds, failed, ended_by) ON source_contact TO shadowbook_ingest;

-- grouper: groups and members, never changed
GRANT INSERT ON event_group, event_group_member TO shadowbook_grouper;

-- simulator: decisions, the books they were made on, merged configuration; of a portfolio only what orders decisions
GRANT INSERT ON book_snapshot, copy_attempt, executable_fill, effective_config TO shadowbook_simulator;
GRANT INSERT, UPDATE, DELETE ON group_book TO shadowbook_simulator;
GRANT UPDATE (fetched_at), DELETE ON book_snapshot TO shadowbook_simulator;
GRANT UPDATE (decision_seq, decided_through, last_first_detect_time, last_first_event_time, last_first_ordinal,
              last_group_id, peak_equity_micros, drawdown_tripped, drawdown_reset_at) ON portfolio TO shadowbook_simulator;

GRANT UPDATE (state, total, done, tries, worker, heartbeat_at, started_at, finished_at, error, result) ON config_test_run
  TO shadowbook_simulator;
GRANT DELETE ON config_test_run TO shadowbook_simulator;

-- ledger: the only writer of entries, positions and snapshots; marks an attempt posted
GRANT INSERT ON ledger_entry TO shadowbook_ledger;
GRANT INSERT, UPDATE ON entry_place TO shadowbook_ledger;
GRANT INSERT, DELETE ON waiting_event TO shadowbook_ledger;
GRANT INSERT, UPDATE, DELETE ON portfolio, position, position_source, portfolio_snapshot TO shadowbook_ledger;
GRANT UPDATE (posted_at) ON copy_attempt TO shadowbook_ledger;

-- pricer: marks and resolutions
GRANT INSERT, DELETE ON market_price_snapshot TO shadowbook_pricer;
GRANT INSERT, UPDATE ON market_resolution TO shadowbook_pricer;

-- ui: intents only
GRANT INSERT, UPDATE ON guardrail_config, copy_sizing_config, market_blacklist, control_flag TO shadowbook_ui;
GRANT INSERT (id, requested_at, requested_by, user_id, draft, since, until), UPDATE (cancel_requested_at) ON config_test_run
  TO shadowbook_ui;

-- A service writes only checkpoints that bear its name.
ALTER TABLE system_checkpoint ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS checkpoint_read ON system_checkpoint;
DROP POLICY IF EXISTS checkpoint_insert ON system_checkpoint;
DROP POLICY IF EXISTS checkpoint_update ON system_checkpoint;
DROP POLICY IF EXISTS checkpoint_delete ON system_checkpoint;
CREATE POLICY checkpoint_read ON system_checkpoint FOR SELECT USING (true);
CREATE POLICY checkpoint_insert ON system_checkpoint FOR INSERT WITH CHECK (current_user = 'shadowbook_' || service);
CREATE POLICY checkpoint_update ON system_checkpoint FOR UPDATE USING (current_user = 'shadowbook_' || service);
CREATE POLICY checkpoint_delete ON system_checkpoint FOR DELETE USING (current_user = 'shadowbook_' || service);
