"""Read models over Postgres, and the few rows the dashboard writes; the same ones serve pages and the API."""
