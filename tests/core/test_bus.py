"""The parts of the bus that decide without a Redis: map, wire form, retry numbers, pauses, access rules."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from faststream.redis.parser import BinaryMessageFormatV1
from redis.exceptions import BusyLoadingError, ResponseError

from libs.common.bus import RetryPolicy, acl
from libs.common.bus.broker import looks_like_outage
from libs.common.bus.failures import Failure, one_more
from libs.common.bus.groups import order
from libs.common.bus.parked import Entry, Parked, letter_for
from libs.common.bus.pause import Pause
from libs.common.bus.streams import ALL, BY_NAME, CONTROL_CHANGED, consumed_by, service_of, written_by
from libs.common.bus.wire import Poison, claimed_subject, decode, encode, is_for, parse, payload_text
from libs.common.domain.dead_letter import LetterKind
from libs.common.messages import ControlChanged, Message

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
MESSAGE = ControlChanged(occurred_at=NOW, observed_at=NOW, key="paused")
BODY = MESSAGE.model_dump_json().encode()


def test_the_map_is_the_table_of_the_spec() -> None:
    assert {stream.name: (stream.writers, stream.groups) for stream in ALL} == {
        "events.detected": (("ingest",), ("ledger", "grouper")),
        "groups.closed": (("grouper",), ("simulator-user", "simulator-global")),
        "attempts.decided": (("simulator",), ("ledger",)),
        "marks.updated": (("pricer",), ("ledger",)),
        "markets.resolved": (("pricer",), ("ledger",)),
        "reconcile.requested": (("ui",), ("ingest",)),
        "config.changed": (("ui",), ("simulator-user", "simulator-global")),
        "config.test.requested": (("ui",), ("simulator-user",)),
        "control.changed": (("ui",), ("simulator-user", "simulator-global")),
    }


def test_every_subject_is_a_field_of_its_message() -> None:
    assert all(stream.subject in stream.message.model_fields for stream in ALL)
    assert {stream.message for stream in ALL} == set(Message.__subclasses__())


def test_services_find_their_streams() -> None:
    assert service_of("simulator-user") == "simulator"
    assert [stream.name for stream in consumed_by("ledger")] == [
        "events.detected",
        "attempts.decided",
        "marks.updated",
        "markets.resolved",
    ]
    assert [stream.name for stream in written_by("simulator")] == ["attempts.decided"]


def test_a_group_of_another_stream_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"control.changed: expected one of the groups .*, got 'ledger'"):
        CONTROL_CHANGED.require_group("ledger")


def test_what_is_encoded_is_decoded_again() -> None:
    assert decode(CONTROL_CHANGED, encode(MESSAGE)) == MESSAGE


def test_the_body_is_plain_json() -> None:
    assert encode(MESSAGE) == {b"__data__": BODY}


def test_an_entry_names_the_group_it_is_for() -> None:
    fields = encode(MESSAGE, group="simulator-user")
    assert is_for(fields, b"simulator-user")
    assert not is_for(fields, b"simulator-global")
    assert is_for(encode(MESSAGE), b"simulator-global")


def enveloped(body: bytes) -> bytes:
    """Wrap a body the way FastStream's own publisher does."""
    header = BinaryMessageFormatV1.IDENTITY_HEADER
    return header + b"\x00\x01" + (18).to_bytes(4, "big") + (20).to_bytes(4, "big") + b"\x00\x00" + body


def test_the_envelope_of_faststream_is_read_too() -> None:
    assert decode(CONTROL_CHANGED, {b"__data__": enveloped(BODY)}) == MESSAGE
    assert payload_text({b"__data__": enveloped(BODY)}) == BODY.decode()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "expected the field __data__, found nothing"),
        ({b"a": b"1", b"b": b"2"}, "expected the field __data__, found a, b"),
        ({b"__data__": b"{"}, "Invalid JSON"),
        ({b"__data__": b"[]"}, "expected a ControlChanged"),
        ({b"__data__": BODY.replace(b'"key"', b'"clue"')}, "key: Field required; clue: Extra inputs"),
        (
            {b"__data__": BODY.replace(b'"schema_version":1', b'"schema_version":2')},
            "schema_version: Input should be 1",
        ),
        ({b"__data__": BODY.replace(b"+00:00", b"").replace(b"Z", b"")}, "occurred_at: Input should have timezone"),
    ],
)
def test_an_unreadable_entry_says_what_was_expected_and_what_came(fields: dict[bytes, bytes], reason: str) -> None:
    with pytest.raises(Poison) as caught:
        decode(CONTROL_CHANGED, fields)
    assert reason in str(caught.value)


def test_any_payload_becomes_text_that_a_database_holds() -> None:
    assert payload_text({b"__data__": b"\xff\x00"}) == "\\xff\\x00"
    assert payload_text({b"colour": b"blue"}) == '{"colour":"blue"}'
    assert len(payload_text({b"__data__": b"x" * 1_000_000})) == 100_000


@pytest.mark.parametrize(
    ("body", "subject"), [(b'{"key": "k"}', "k"), (b'{"key": 1}', None), (b"[]", None), (b"{", None), (b"{}", None)]
)
def test_an_unreadable_entry_may_still_say_what_it_is_about(body: bytes, subject: str | None) -> None:
    assert claimed_subject(CONTROL_CHANGED, {b"__data__": body}) == subject


def test_a_payload_can_be_checked_before_it_is_sent() -> None:
    assert parse(BY_NAME["control.changed"], BODY.decode()) == MESSAGE


def test_retry_delays_double_up_to_their_cap_with_jitter_on_top() -> None:
    policy = RetryPolicy(retry_base_seconds=1, retry_cap_seconds=5, jitter=0.2)
    for failures, base in ((1, 1), (2, 2), (3, 4), (4, 5), (50, 5)):
        delays = {policy.retry_delay(failures) for _ in range(50)}
        assert all(base <= delay <= base * 1.2 for delay in delays)
        assert len(delays) > 1


def test_outage_delays_stay_short_however_long_the_outage() -> None:
    assert max(RetryPolicy().outage_delay(waits) for waits in range(1, 10_000, 97)) <= 5 * 1.2


def test_a_consumer_is_dead_only_after_ten_handler_timeouts() -> None:
    assert RetryPolicy().claim_idle(30) == 300
    assert RetryPolicy().claim_idle(120) == 1_200


def test_a_pause_grows_with_outages_and_ends_with_a_success() -> None:
    pause = Pause(RetryPolicy(jitter=0))
    pause.met_outage(100)
    first = pause.seconds_left(100)
    pause.met_outage(100)
    assert (first, pause.seconds_left(100), pause.seconds_left(200)) == (0.25, 0.5, 0)
    assert not pause.succeeded()
    assert pause.seconds_left(100) == 0


def test_only_distinct_messages_in_a_row_stop_a_consumer() -> None:
    pause = Pause(RetryPolicy(run_max=3))
    assert not any(pause.failed("same", 0) for _ in range(10))
    pause.succeeded()
    assert [pause.failed(name, 0) for name in "abcd"] == [False, False, True, False]
    assert pause.stopped
    assert pause.seconds_left(0) == 10
    assert pause.succeeded()
    assert not pause.stopped


def entry(name: str) -> Entry[ControlChanged]:
    return Entry(name, encode(MESSAGE), MESSAGE)


def test_parked_messages_come_back_when_due_in_their_order() -> None:
    parked: Parked[ControlChanged] = Parked()
    parked.add([entry("c")], 30)
    parked.add([entry("a"), entry("b")], 10)
    parked.add([entry("a")], 5)  # waits already
    assert len(parked) == 3
    assert parked.next_due() == 10
    assert [each.id for each in parked.take(9, 10)] == []
    assert [each.id for each in parked.take(10, 1)] == ["a"]
    assert "a" not in parked
    parked.make_due(10)
    assert [each.id for each in parked.take(10, 10)] == ["c", "b"]
    assert parked.next_due() is None


def test_a_failure_remembers_the_first_time_and_survives_storage() -> None:
    later = datetime(2026, 1, 3, tzinfo=UTC)
    failure = one_more(one_more(None, KeyError("a"), NOW), ValueError("b"), later)
    assert (failure.attempts, failure.error, failure.first_at, failure.last_at) == (2, "ValueError: b", NOW, later)
    assert Failure.from_json(failure.to_json()) == failure


def test_the_same_entry_gets_the_same_letter_and_another_group_another() -> None:
    failure = one_more(None, KeyError("a"), NOW)
    first = letter_for(CONTROL_CHANGED, "simulator-user", entry("1-0"), LetterKind.FAILED, failure)
    again = letter_for(CONTROL_CHANGED, "simulator-user", entry("1-0"), LetterKind.FAILED, replace(failure, attempts=9))
    other = letter_for(CONTROL_CHANGED, "simulator-global", entry("1-0"), LetterKind.FAILED, failure)
    assert first.id == again.id != other.id
    assert (first.subject, first.error) == ("paused", "FAILED: KeyError: 'a'")


def test_entry_ids_sort_as_numbers() -> None:
    assert sorted(["10-2", "9-11", "10-10", "9"], key=order) == ["9", "9-11", "10-2", "10-10"]


def test_each_service_has_a_rule_and_only_the_operator_may_do_everything() -> None:
    assert set(acl.RULES) == {"operator", "ingest", "grouper", "simulator", "ledger", "pricer", "ui"}
    assert [user for user, rule in acl.RULES.items() if "+@all" in rule.split()] == ["operator"]


def test_the_ui_may_add_to_wishes_alone() -> None:
    assert (
        "(-@all +xadd ~reconcile.requested ~config.changed ~config.test.requested ~control.changed)" in acl.RULES["ui"]
    )
    assert acl.RULES["ui"].count("xadd") == 1


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (BusyLoadingError("LOADING"), True),
        (ResponseError("MISCONF cannot write"), True),
        (ResponseError("WRONGTYPE"), False),
        (FileNotFoundError("our own mistake"), False),
        (KeyError("our own mistake"), False),
    ],
)
def test_only_what_is_away_is_an_outage(error: Exception, outage: bool) -> None:
    assert looks_like_outage(error) is outage
