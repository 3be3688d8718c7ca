"""The bus: facts travel between services on Redis Streams, at least once, in batches, and none is lost in silence.

`streams` is the map. `Bus` publishes and consumes; `Delivery` decides what becomes of a message; `dead_letter` keeps
what is given up on, `replay` sends it again; `sweep` refills streams from Postgres, which is the truth.
"""

from libs.common.bus.broker import Bus
from libs.common.bus.dead_letter import DeadLetterStore
from libs.common.bus.policy import RetryPolicy
from libs.common.bus.streams import Stream
from libs.common.domain.dead_letter import DeadLetter, LetterStatus

__all__ = ["Bus", "DeadLetter", "DeadLetterStore", "LetterStatus", "RetryPolicy", "Stream"]
