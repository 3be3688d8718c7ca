"""A local Polymarket: Data API, CLOB, Gamma and a JSON-RPC websocket in their real wire shapes.

In:      a tape folder or a seed; a faults file; the order to play.
Decides: what each endpoint shows at this instant of the play.
Out:     the wire, which the other services cannot tell from the real one.
Owns:    its state folder, where the start of play is kept; no table, no stream.
Never:   reads the database or the bus, or knows who asks.
"""
