"""The tests, by kind: core, handlers, integration, e2e, chaos, bench."""
