"""UI: the dashboard and the REST API, for one admin.

In: read models over Postgres, the state of the streams; what the admin presses. Decides: who is the admin, and how
figures are shown. Out: control.changed, config.changed. Owns: GuardrailConfig, CopySizingConfig, MarketBlacklist and
ControlFlag (intents that others act on), its own checkpoints (login links). Never: writes an event, a decision or an
entry, recomputes history, asks the exchange.
"""
