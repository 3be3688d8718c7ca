"""INGEST: what followed wallets did, each fill once, whoever tells it first.

In: chain logs over a websocket, the Data API by polling, Gamma for markets, reconcile.requested. Decides: which
sightings are one and the same event, and what a wallet held that no event explains. Out: events.detected.
Owns: FollowedUser, FollowedUserProxyWallet, TradeEvent, ActivityEvent, EventSighting, PositionSync, SourceContact,
Market, OutcomeAsset.
Never: sizes, prices or judges a copy; changes an amount it has told, except to complete it from the log.
"""
