"""What may be missing from the books, as conditions in SQL: what was given up, and what waits for its market."""


def given_up(subject: str) -> str:
    """Tell whether a subject ended in a dead letter that nobody replayed."""
    return f"EXISTS (SELECT FROM dead_letter d WHERE d.subject = {subject} AND d.status <> 'REPLAYED')"


def waits_for_market(event: str) -> str:
    """Tell whether a split or merge waits for a market that is not told, or was only just, after `:settled`."""
    return f"""EXISTS (
  SELECT FROM waiting_event w WHERE w.event_id = {event} AND (
    (SELECT count(*) FROM outcome_asset o WHERE o.condition_id = w.condition_id) < 2 OR EXISTS (
      SELECT FROM system_checkpoint c WHERE c.service = 'ingest' AND c.key = 'markets:learned'
        AND (c.value->>'at')::timestamptz >= :settled)))"""  # noqa: S608  texts of ours
