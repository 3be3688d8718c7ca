"""The exchange's public APIs and the chain, from wire to domain and nothing else.

`gateway` carries requests within the rate limit, `data_api`, `clob` and `gamma` speak one host each, `chain` decodes
logs and speaks JSON-RPC. Nothing of the wire leaves this package except raw objects kept as evidence.
"""
