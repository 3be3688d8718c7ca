"""UI: the dashboard and the REST API, for one admin.

In: read models over Postgres, the state of the streams; what the admin presses. Decides: who is the admin, and how
figures are shown. Out: control.changed, config.changed. Owns, as intents: GuardrailConfig,
CopySizingConfig, MarketBlacklist, ControlFlag; its own checkpoints (login links). Never: writes an event, a
decision or an entry, recomputes history, asks the exchange.
"""
