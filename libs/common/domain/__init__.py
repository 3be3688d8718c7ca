"""The words of this project, and its value types.

followed user, fill (theirs and ours say whose), group, attempt, decision, reason, book, level, bid, ask, mid, spread,
depth, notional, slippage, position, mark, realised / unrealised PnL, entry, settle, stream, consumer, pending, lag,
claim, dead letter, replay. One word per idea. Everything here is pure: no I/O, no clock, no floats.
"""
