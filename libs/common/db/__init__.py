"""Postgres, the only truth: engine, one table module per aggregate, migrations, roles."""
