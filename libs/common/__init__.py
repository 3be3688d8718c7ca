"""What every service shares: domain, messages, bus, database, upstream, observability."""
