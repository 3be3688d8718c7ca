"""Which sightings are one event: pure, whatever order they come in.

`sightings` says what a source can tell, `fills` matches trades, `activity` everything else, `polling` when to look.
"""
