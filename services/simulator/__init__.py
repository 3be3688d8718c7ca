"""Simulator: says what copying a group would have done, on paper.

In: groups.closed, config.changed, config.test.requested, control.changed (streams only wake; Postgres is the truth).
Decides: for each closed group, once in its scope: size, guardrails, walk of the book, fill or skip with reasons.
Out: attempts.decided.
Owns: copy_attempt, executable_fill, book_snapshot, group_book, effective_config; of a portfolio, what orders decisions;
  of config_test_run, progress and result.
Never: posts to the ledger, marks a position, or decides without the portfolio's row lock.
"""
