"""PRICER: what held tokens are worth, and how their markets ended.

In: held positions and markets (Postgres), midpoints, last trades and resolutions (upstream). Decides: which mark an
asset gets and whether a resolution is final. Out: marks.updated, markets.resolved. Owns: MarketPriceSnapshot,
MarketResolution. Never: invents a price, posts an entry.
"""
