"""The circuit breaker opens after a run of failures and closes after one good probe."""

from libs.common.upstream.breaker import BreakerPolicy, CircuitBreaker

POLICY = BreakerPolicy(failures=3, open_seconds=2, open_seconds_max=5)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened() -> tuple[CircuitBreaker, Clock]:
    clock = Clock()
    breaker = CircuitBreaker(POLICY, clock)
    for _ in range(3):
        breaker.start()
        breaker.failed(probe=False)
    return breaker, clock


def test_a_run_of_failures_opens_it() -> None:
    breaker = CircuitBreaker(POLICY, Clock())
    for expected in (False, False, True):
        breaker.start()
        breaker.failed(probe=False)
        assert breaker.is_open is expected
    assert breaker.wait_seconds() == 2


def test_a_success_ends_the_run() -> None:
    breaker = CircuitBreaker(POLICY, Clock())
    for _ in range(5):
        breaker.failed(probe=False)
        breaker.failed(probe=False)
        breaker.succeeded()
    assert not breaker.is_open


def test_half_open_lets_one_probe_through() -> None:
    breaker, clock = opened()
    clock.now = 2
    assert breaker.wait_seconds() == 0
    breaker.start()
    assert breaker.wait_seconds() > 0
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.wait_seconds() == 0


def test_failed_probes_double_the_wait_up_to_a_limit() -> None:
    breaker, clock = opened()
    for expected in (4, 5, 5):
        clock.now += breaker.wait_seconds()
        breaker.failed(probe=breaker.start())
        assert breaker.wait_seconds() == expected


def test_a_cancelled_probe_makes_room_for_the_next() -> None:
    breaker, clock = opened()
    clock.now = 2
    breaker.start()
    breaker.abandoned(probe=True)
    assert breaker.wait_seconds() == 0


def test_what_was_on_its_way_before_it_opened_is_not_taken_for_the_probe() -> None:
    breaker, clock = opened()
    clock.now = 2
    assert breaker.start() is True
    breaker.failed(probe=False)
    breaker.abandoned(probe=False)
    assert breaker.wait_seconds() > 0, "the probe is still out, nobody else may go"
    breaker.succeeded()
    assert breaker.start() is False
