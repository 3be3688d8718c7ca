"""The synthetic market: a pure function of a seed and of the instant, so that it restarts exactly where it was.

Nothing is simulated step by step. Prices are layered noise, books and the wallets' dealings are drawn by hash from
(seed, who, when), and every dealing is complete in itself: what it buys it sells, merges or redeems within 45 minutes.
"""
