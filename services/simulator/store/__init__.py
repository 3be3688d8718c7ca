"""The simulator's SQL: groups and attempts, portfolios as decisions see them, books, configuration."""
