"""The four faces of the exchange: Data API, CLOB, Gamma and JSON-RPC; each translates, none decides."""
