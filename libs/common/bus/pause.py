"""When a consumer stops reading for a while: the world is down, or it is itself that fails at everything."""

from libs.common.bus.policy import RetryPolicy


class Pause:
    """Outages and runs of unexpected errors of one consumer. Times are seconds of one monotonic clock."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._outages = 0
        self._run: set[str] = set()
        self._until = 0.0
        self.stopped = False

    def succeeded(self) -> bool:
        """Note a success: the world and the code are well. Return whether this ended a stop."""
        resumed = self.stopped
        self.stopped = False
        self._run.clear()
        self._outages, self._until = 0, 0.0
        return resumed

    def met_outage(self, now: float) -> None:
        """Note a try that found the world down; each in a row lengthens the pause."""
        self._outages += 1
        self._until = now + self._policy.outage_delay(self._outages)

    def failed(self, message_id: str, now: float) -> bool:
        """Note an unexpected error; return whether it is the one that stops the consumer."""
        self._run.add(message_id)
        if self.stopped or len(self._run) < self._policy.run_max:
            return False
        self.stopped = True
        self.probed(now)
        return True

    def probed(self, now: float) -> None:
        """Note that a stopped consumer tried in vain; the next probe comes later."""
        self._until = now + self._policy.stopped_probe_seconds

    @property
    def run_length(self) -> int:
        """Return how many distinct messages failed since the last success."""
        return len(self._run)

    def seconds_left(self, now: float) -> float:
        """Return how long reading has to pause from `now` on."""
        return max(0.0, self._until - now)
