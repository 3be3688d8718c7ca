"""GROUPER: many small fills of one intention become one group.

In: events.detected. Decides: which events belong together (pure function of recorded values). Out: groups.closed.
Owns: EventGroup, EventGroupMember. Never: changes a closed group, looks at prices, sizes or portfolios.
"""
