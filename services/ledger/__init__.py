"""The books: every posting, what it adds up to, and what that is worth.

In: events.detected, attempts.decided, marks.updated, markets.resolved; followed users, read from Postgres.
Decides: nothing. It turns facts into entries, folds entries into positions, values positions by their marks.
Out: nothing on the bus; Postgres is where its readers look.
Owns: LedgerEntry, EntryPlace, WaitingEvent, Position, PositionSource, PortfolioSnapshot, Portfolio (all but the
decision columns), and `posted_at` of CopyAttempt.
Never: updates or deletes an entry; judges a copy decision; asks the exchange anything.
"""
