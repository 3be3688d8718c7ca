"""The dashboard's figures, verdict, escaping and doors, without a database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from pydantic import ValidationError
from starlette.datastructures import Headers

from libs.common.domain.reasons import Reason
from services.ui.auth import Sessions, is_same_origin, may_use_link, new_token, token_hash
from services.ui.parts import answers, charts, figures, tables
from services.ui.parts.overview import today_curve
from services.ui.parts.words import REASONS
from services.ui.queries.curve import Curve, Point, ending_at, smallest_range
from services.ui.queries.decisions import DecisionRow, ReasonRow, Reasons
from services.ui.queries.health import Feed, HealthFacts, Process
from services.ui.queries.overview import Facts, Gap, gap_of
from services.ui.queries.people import Person, scaled, steps
from services.ui.queries.portfolio import GlobalFigures
from services.ui.queries.verdict import Waiting, judge
from services.ui.settings import Settings

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
USER = UUID(int=7)
EVIL = "<img src=x onerror=alert(1)>\"'"
QUIET = Waiting(messages=0)


def settings(**more: object) -> Settings:
    values = {
        "database_url": "postgresql://x",
        "redis_url": "redis://x",
        "instance": "ui-0",
        "http_port": 1,
        "port": 8787,
        "storage_secret": "s" * 32,
    }
    return Settings.model_validate(values | more)


def person(**more: object) -> Person:
    values = {
        "user_id": USER,
        "label": "quiet-otter",
        "is_followed": True,
        "is_copied": True,
        "followed_at": NOW,
        "shadow_id": UUID(int=1),
        "exec_id": UUID(int=2),
        "copy_pct": Decimal(1),
        "shadow_micros": 4_810_000_000,
        "theirs_micros": 48_100_000,
        "ours_micros": 51_720_000,
        "fees_micros": 100_000,
    }
    return Person.model_validate(values | more)


def decision(**more: object) -> DecisionRow:
    values = {
        "attempt_id": UUID(int=9),
        "seen_at": NOW,
        "event_time": NOW,
        "decided_at": NOW,
        "kind": "TRADE",
        "side": "BUY",
        "decision": "EXECUTE",
        "reasons": (),
        "user_id": USER,
        "user": "quiet-otter",
        "question": "Who?",
        "outcome": "Yes",
        "their_notional_micros": 2_000_000_000,
        "their_price_micros": 500_000,
        "target_micros": 20_000_000,
        "filled_micros": 20_000_000,
    }
    return DecisionRow.model_validate(values | more)


def health(**more: object) -> HealthFacts:
    services = ("ingest", "grouper", "simulator", "ledger", "pricer")
    processes = tuple(
        Process(service=name, instance=f"{name}-0", status="ok", beat_at=NOW, started_at=NOW, faults={})
        for name in services
    )
    values = {
        "processes": processes,
        "missing": (),
        "feed": Feed(state="up", detail=""),
        "wallets": 3,
        "wallets_fresh": 3,
        "oldest_poll_at": NOW,
        "lag_p95_seconds": Decimal("2.1"),
        "lag_fills": 40,
        "last_fill_at": NOW,
        "marked_at": NOW - timedelta(seconds=20),
        "dead_letters_open": 0,
    }
    return HealthFacts.model_validate(values | more)


def curve(*points: tuple[int, int]) -> Curve:
    """Points as (minutes after NOW, PnL micros)."""
    made = tuple(
        Point(at=NOW + timedelta(minutes=at), equity_micros=10_000_000_000 + pnl, pnl_micros=pnl) for at, pnl in points
    )
    return Curve(
        range="1h", since=NOW, until=made[-1].at, deposits_micros=10_000_000_000, points=made, shadows=made[:1]
    )


# figures


@pytest.mark.parametrize(
    ("micros", "plain", "signed"),
    [
        (412_360_000, "$412.36", "+$412.36"),
        (-23_640_000, "\u2212$23.64", "\u2212$23.64"),
        (0, "$0.00", "$0.00"),
        (-4_000, "$0.00", "$0.00"),
        (10_412_360_000, "$10,412.36", "+$10,412.36"),
        (10_010_000, "$10.01", "+$10.01"),
    ],
)
def test_money_shows_its_sign_before_the_dollar(micros: int, plain: str, signed: str) -> None:
    assert figures.usd(micros) == plain
    assert figures.usd(micros, sign=True) == signed


def test_big_money_drops_its_cents_where_it_is_read_at_a_glance() -> None:
    assert figures.usd(10_412_360_000, short=True) == "$10,412"
    assert figures.usd(9_999_990_000, short=True) == "$9,999.99"


def test_what_rounds_to_zero_has_no_colour() -> None:
    assert figures.tone(-4_000) == ""
    assert figures.tone(-6_000) == "sb-neg"
    assert figures.tone(6_000) == "sb-pos"


def test_a_percentage_of_nothing_is_a_dash() -> None:
    assert figures.percent(5, 0) == "\u2013"
    assert figures.percent(5, -3) == "\u2013"
    assert figures.percent(412_360_000, 10_000_000_000, digits=2, sign=True) == "+4.12%"


def test_prices_are_shown_in_cents_and_ages_in_their_largest_unit() -> None:
    assert figures.cents(614_000) == "61.4\u00a2"
    assert [figures.duration(value) for value in (-3, 59.9, 60, 7_200, 90_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "1 d",
    ]


def test_every_reason_has_words() -> None:
    assert set(REASONS) == {reason.value for reason in Reason}


# escaping


def test_a_label_or_a_title_never_becomes_markup() -> None:
    skip = ReasonRow(reason=EVIL, skips=1, valued=1, effect_micros=1)
    made = [
        tables.users([person(label=EVIL)]),
        tables.decisions([decision(user=EVIL, question=EVIL, outcome=EVIL)], NOW),
        tables.decisions([decision(decision="SKIP", reasons=(EVIL,), side=EVIL)], NOW),
        tables.skips(Reasons(days=30, decisions=1, skips=(skip,))),
        answers.working(judge(health(feed=Feed(state="up", detail=EVIL)), QUIET, NOW, holds=True), NOW, None),
    ]
    for html in made:
        assert "<img" not in html
        assert "&lt;img" in html.lower()
        assert 'onerror=alert(1)>"' not in html


# decisions


def test_a_copy_short_of_its_target_says_how_short() -> None:
    assert "Part 62%" in tables.decisions([decision(filled_micros=12_400_000)], NOW)


def test_a_copy_that_lots_of_a_hundredth_left_just_short_is_whole() -> None:
    assert "Copied" in tables.decisions([decision(filled_micros=19_990_000)], NOW)


def test_a_skip_shows_its_first_reason_and_counts_the_others() -> None:
    html = tables.decisions([decision(decision="SKIP", reasons=("SPREAD_TOO_WIDE", "INSUFFICIENT_DEPTH"))], NOW)
    assert "Wide spread" in html
    assert "+1" in html


# the gap


def test_the_gap_is_ours_less_theirs_over_users_who_were_copied() -> None:
    gap = gap_of([person(), person(theirs_micros=10_000_000, ours_micros=-2_000_000), person(exec_id=None)])
    assert gap.gap_micros == (51_720_000 - 2_000_000) - (48_100_000 + 10_000_000)
    assert gap.copy_pcts == ("1",)


def test_kept_is_not_claimed_where_they_lost() -> None:
    html = answers.why(_facts(gap=Gap(theirs_micros=-5, ours_micros=3, fees_micros=0, copy_pcts=("1",))), _reasons())
    assert "kept" not in html
    assert "Do I keep up" in html


def test_the_copy_share_scales_to_the_nearest_micro() -> None:
    assert scaled(150, Decimal(1)) == 2
    assert scaled(-101, Decimal("0.5")) == -1


# windows


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(minutes=4), "1h"),
        (timedelta(hours=3), "1d"),
        (timedelta(days=26), "30d"),
        (timedelta(days=90), "all"),
    ],
)
def test_the_smallest_window_that_holds_everything_is_shown_first(age: timedelta, expected: str) -> None:
    assert smallest_range(NOW - age, NOW) == expected


def test_steps_are_no_finer_than_the_minutes_snapshots_have() -> None:
    assert steps(timedelta(minutes=4, seconds=20), 96) == 4
    assert steps(timedelta(days=3), 96) == 96
    assert steps(timedelta(seconds=5), 96) == 1


def test_a_curve_of_cents_is_not_drawn_as_a_cliff() -> None:
    axis = charts.equity(curve((0, 0), (1, 900_000), (2, 400_000)), "Shadows at 1%")["yAxis"][0]
    assert axis["max"] - axis["min"] >= charts.SPAN_DOLLARS_MIN
    assert axis["min"] <= 10_000 <= axis["max"]


def test_the_fall_from_the_peak_starts_again_at_every_new_peak() -> None:
    falls = charts.equity_data(curve((0, 0), (1, 100_000_000), (2, 0), (3, 200_000_000)))["falls"]
    assert [value for _, value in falls] == [0, 0, pytest.approx(-0.99, abs=0.001), 0]


def test_the_base_line_says_when_it_was_another_in_the_window() -> None:
    def said(drawn: Curve) -> str:
        (label,) = [
            each["markLine"]["label"] for each in charts.equity(drawn, "Shadow")["series"] if "markLine" in each
        ]
        return str(label["formatter"])

    drawn = curve((0, 0), (1, 5_000_000))
    assert said(drawn) == "deposited $10,000"
    added = drawn.model_copy(update={"deposits_micros": 10_500_000_000})
    assert said(added) == "deposits less withdrawals, now $10,500"


def test_the_day_starts_at_midnight_and_at_zero() -> None:
    midnight = NOW.replace(hour=0, minute=0)
    shifted = [(int((midnight - NOW).total_seconds() // 60) - 5, 7_000_000), (-60, 9_000_000), (0, 4_000_000)]
    assert today_curve(curve(*shifted), NOW) == (0, 2_000_000, -3_000_000)


def test_the_curve_ends_at_the_figure_beside_it() -> None:
    figures_now = GlobalFigures.model_construct(  # type: ignore[call-arg]  # the rest is not read
        equity_micros=10_003_000_000, deposits_micros=10_000_000_000, withdrawals_micros=0
    )
    drawn = curve((0, 0), (1, 5_000_000), (3, 4_000_000))
    ended = ending_at(drawn, figures_now, NOW + timedelta(minutes=2))
    assert [point.pnl_micros for point in ended.points] == [0, 5_000_000, 3_000_000]
    assert ended.points[-1].equity_micros == figures_now.equity_micros


# verdict


def test_all_is_well_when_everything_is() -> None:
    verdict = judge(health(), QUIET, NOW, holds=True)
    assert (verdict.kind, verdict.problem) == ("ok", "")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"missing": ("grouper",)}, "grouper is not running"),
        ({"marked_at": NOW - timedelta(minutes=6)}, "prices are stale"),
        ({"marked_at": None}, "prices are stale"),
        ({"dead_letters_open": 2}, "some messages failed"),
        ({"wallets_fresh": 2}, "wallet polls are late"),
        ({"feed": Feed(state="down", detail="")}, "chain feed lost"),
        ({"lag_p95_seconds": Decimal(40)}, "trades are seen late"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], problem: str) -> None:
    verdict = judge(health(**change), QUIET, NOW, holds=True)
    assert verdict.problem == problem
    assert verdict.kind in {"warn", "bad"}


def test_what_has_no_price_now_is_counted_and_is_no_fault() -> None:
    verdict = judge(health(unmarked=2), QUIET, NOW, holds=True)
    assert (verdict.kind, verdict.problem) == ("ok", "")
    assert verdict.lines[4].name == "Prices, 2 old"
    assert "each stands at its last one" in verdict.lines[4].formula


def test_a_stretched_interval_of_polls_is_told_and_is_no_fault() -> None:
    verdict = judge(health(poll_every_seconds=125), QUIET, NOW, holds=True)
    assert (verdict.kind, verdict.problem) == ("ok", "")
    assert verdict.lines[2].value == "every 125 s (30 s is the aim)"
    late = judge(health(poll_every_seconds=125, wallets_fresh=2), QUIET, NOW, holds=True)
    assert late.lines[2].value == "late, every 125 s (30 s is the aim)"


def test_a_silent_process_is_worse_than_stale_prices() -> None:
    silent = Process(service="pricer", instance="pricer-0", status="down", beat_at=NOW, started_at=NOW, faults={})
    verdict = judge(health(processes=(silent,), marked_at=None), QUIET, NOW, holds=True)
    assert verdict.problem == "pricer-0 is not running"
    assert verdict.kind == "bad"


def test_a_bus_that_is_away_is_named() -> None:
    assert judge(health(), Waiting(messages=None), NOW, holds=True).problem == "message bus away"


def test_old_prices_do_not_matter_while_nothing_is_held() -> None:
    assert judge(health(marked_at=None), QUIET, NOW, holds=False).problem == ""


def test_a_feed_that_is_not_configured_is_no_fault() -> None:
    assert judge(health(feed=Feed(state="off", detail="")), QUIET, NOW, holds=True).kind == "ok"


# doors


def test_a_session_is_believed_only_with_our_signature() -> None:
    sessions, strangers = Sessions(settings()), Sessions(settings(storage_secret="t" * 32))
    assert sessions.is_admin(sessions.begin())
    assert not sessions.is_admin(strangers.begin())
    assert not sessions.is_admin(sessions.begin()[:-1])
    assert not sessions.is_admin("")
    assert not sessions.is_admin(None)


def test_cookies_travel_over_tls_only_when_the_public_address_says_so() -> None:
    public = Sessions(settings(PUBLIC_URL="https://book.example.org"))
    assert public.is_secure
    assert public.cookie.startswith("__Host-")
    assert not Sessions(settings()).is_secure


def test_tokens_have_128_bits_and_only_their_hash_is_kept() -> None:
    token = new_token()
    assert len(token) >= 22
    assert token not in token_hash(token)
    assert new_token() != token


@pytest.mark.parametrize(
    ("client", "headers", "public", "expected"),
    [
        ("127.0.0.1", {}, None, True),
        ("::1", {}, None, True),
        ("10.0.0.5", {}, None, False),
        (None, {}, None, False),
        ("127.0.0.1", {"x-forwarded-for": "1.2.3.4"}, None, False),
        ("127.0.0.1", {"forwarded": "for=1.2.3.4"}, None, False),
        ("127.0.0.1", {}, "https://book.example.org", False),
    ],
)
def test_links_work_on_loopback_with_nothing_in_between(
    client: str | None, headers: dict[str, str], public: str | None, expected: bool
) -> None:
    assert may_use_link(settings(PUBLIC_URL=public), client, Headers(headers)) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"origin": "http://127.0.0.1:8787"}, True),
        ({"origin": "http://localhost:8787"}, True),
        ({"origin": "http://127.0.0.1:8788"}, False),
        ({"origin": "https://127.0.0.1:8787"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({}, True),
    ],
)
def test_writes_are_believed_from_our_own_pages(headers: dict[str, str], expected: bool) -> None:
    assert is_same_origin(settings().origins, Headers(headers)) is expected


def test_a_public_address_with_a_path_is_refused() -> None:
    with pytest.raises(ValidationError, match="without a path"):
        settings(PUBLIC_URL="https://example.org/book")


def _reasons() -> Reasons:
    return Reasons(days=30, decisions=0, skips=())


def _facts(gap: Gap) -> Facts:
    return Facts.model_construct(gap=gap, people=(person(),))  # type: ignore[call-arg]  # the rest is not read
