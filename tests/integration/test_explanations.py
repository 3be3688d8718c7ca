"""Explanations and what skips saved or cost, read from real rows; the sums are made again from exported rows."""

import io
import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.db.explanations import AmbiguousError
from libs.common.db.skips import read_counterfactuals, read_skips
from libs.common.domain.errors import Rejected
from libs.common.domain.explanation import Explanation
from libs.common.domain.kinds import Scope
from services.cli.explain_text import printed
from services.cli.export import Format, write_rows
from services.cli.printing import plain_lines
from services.simulator.commands import apply_config_file, explain_attempts
from services.simulator.core.fees import order_fee
from tests.support.databases import Database
from tests.support.decisions import NO, YES, book, levels, usdc
from tests.support.simulator_world import HERON, OTTER, World

pytestmark = pytest.mark.integration

USER, GLOBAL = Scope.EXEC_USER, Scope.EXEC_GLOBAL
THIRD = "1003"
WIDE = book(levels(("0.41", "1000")), levels(("0.5555", "33.337"), ("0.56", "1000")))
FAR = "0x" + "f" * 64


async def decided(world: World, *groups: UUID) -> None:
    for scope in (USER, GLOBAL):
        replica = world.replica(scope)
        await replica.hear(*groups)
        await replica.decide_all()


async def member(world: World, group: UUID, tx: str, user: UUID = OTTER) -> None:
    event, at = uuid4(), datetime.now(UTC)
    await world.execute(
        "INSERT INTO trade_event (id, user_id, wallet, asset_id, side, share_micros, price_micros,"
        " usdc_notional_micros, fee_micros, tx_hash, ordinal,"
        " incarnation, event_time, detect_time, first_source, status, booked)"
        " VALUES (:e, :u, '0xw', :a, 'BUY', 2000000000, 500000, 1000000000, 0, :tx, :n, 0, :t, :t, 'CHAIN',"
        " 'CANONICAL', true)",
        e=event, u=user, a=YES, tx=tx, t=at, n=event.int % 10**6,
    )  # fmt: skip
    await world.execute("INSERT INTO event_group_member VALUES (:e, :g, 0)", e=event, g=group)


async def explained(world: World, name: str) -> list[Explanation]:
    return await explain_attempts(world.database.url(), name)


async def test_an_attempt_is_found_by_id_prefix_group_and_transaction(database: Database) -> None:
    world = World(database)
    await world.open()
    await apply_config_file(database.url(), None, {"global": {"jitter_ms": 5}, "users": {"otter": {"copy_pct": 2}}})
    await world.replica(USER).configs.merge()
    group, tx = await world.close_group(), "0x" + "ab" * 32
    await member(world, group, tx)
    await decided(world, group)
    (attempt,) = await world.attempts(USER)
    for name in (str(attempt.id), str(attempt.id)[:8].upper(), str(attempt.id).replace("-", ""), f" {attempt.id} "):
        (found,) = await explained(world, name)
        assert (found.attempt_id, found.scope, found.theirs.user) == (attempt.id, "EXEC_USER", "otter")
    for name in (str(group), str(group)[:9], tx, tx.upper().replace("X", "x")):
        assert [each.scope for each in await explained(world, name)] == ["EXEC_USER", "EXEC_GLOBAL"]
    assert [each.tx_hash for each in found.theirs.members] == [tx]
    assert (found.book is not None and len(found.book.levels), found.result.fee.fee_micros) == (2, usdc("0.70"))
    settings = {each.name: each.source for each in found.configuration.settings if each.source != "DEFAULT"}
    assert settings == {"copy_pct": "USER", "jitter_ms": "GLOBAL"}
    assert found.theirs.question == "?"


async def test_what_a_name_does_not_mean_is_said(database: Database) -> None:
    world = World(database)
    await world.open()
    first, second = (UUID(f"abcdef00-0000-4000-8000-00000000000{n}") for n in (1, 2))
    await decided(world, await world.close_group(id=first, age_s=5), await world.close_group(id=second, age_s=4))
    undecided = await world.close_group()
    with pytest.raises(AmbiguousError) as ambiguous:
        await explained(world, "abcdef00")
    assert len(ambiguous.value.candidates) == 4
    assert {each.group_id for each in ambiguous.value.candidates} == {first, second}
    for name, said in (
        ("abcdef0", "at least its first 8 digits"),
        ("not-an-id", "expected an attempt's or a group's id"),
        ("0" * 33, "expected an attempt's"),
        ("0123456789", "no attempt and no group"),
        ("0x" + "9" * 64, "no group has a trade of transaction"),
        (str(undecided), "not decided yet"),
        ("%", "expected an attempt's"),
        ("", "expected an attempt's"),
    ):
        with pytest.raises(Rejected, match=said):
            await explained(world, name)


async def test_every_kind_of_attempt_is_explained_also_without_book_or_market(database: Database) -> None:
    world = World(database)
    await world.open()
    both: dict[str, Any] = {"asset_id": None, "side": None, "reference_price_micros": None, "share_micros": usdc(1000)}
    groups = [
        await world.close_group(age_s=9, side="SELL"),
        await world.close_group(age_s=8, kind="SPLIT", **both),
        await world.close_group(age_s=7, kind="MERGE", **both),
        await world.close_group(age_s=6, kind="SPLIT", **both | {"condition_id": FAR}),
        await world.close_group(age_s=5, asset_id=NO),
        await world.close_group(age_s=500),
        await world.close_group(age_s=4),
    ]
    await decided(world, *groups)
    await world.execute("DELETE FROM book_snapshot")
    for scope in (USER, GLOBAL):
        attempts = await world.attempts(scope)
        assert len(attempts) == len(groups)
        for attempt in attempts:
            (found,) = await explained(world, str(attempt.id))
            lines = plain_lines(printed([found]))
            assert lines[0].startswith("COPIED" if attempt.decision == "EXECUTE" else "NOT COPIED")
            assert all(len(line) <= 100 for line in lines)


async def skipping_world(database: Database) -> World:
    """Skips of both sides and both users: marked, resolved, never marked, of an unknown market, without a book."""
    world = World(database)
    await world.open(market=False)
    await world.open_market(fee_rate=Decimal("0.0625"), fee_exponent=Decimal("1.0"))
    await world.execute(
        "INSERT INTO market SELECT :c, '2', question, slug, close_time, active, closed, accepting_orders, neg_risk,"
        " CAST('0.07' AS numeric), 2, tick_micros, version, resolved, refreshed_at FROM market",
        c=FAR,
    )
    await world.execute(
        "INSERT INTO outcome_asset VALUES ('1004', :c, 0, 'Fourth'), (:a, :c, 1, 'Third')", a=THIRD, c=FAR
    )
    for asset in (YES, NO, THIRD):
        world.exchange.books_by_asset[asset] = type(WIDE)(asset, WIDE.hash, 1, WIDE.bids, WIDE.asks)
    await world.hold(USER, OTTER, YES, "100", "50")
    await world.hold(GLOBAL, None, YES, "7.777", "4")
    groups = []
    for place, (asset, user) in enumerate(((YES, OTTER), (YES, HERON), (NO, OTTER), (THIRD, OTTER), (THIRD, HERON))):
        price = 500_000 + 7 * place
        groups.append(
            await world.close_group(
                age_s=30 - place, user=user, asset_id=asset, usdc_notional_micros=price * 1_900,
                share_micros=usdc(1_900), reference_price_micros=price,
            )
        )  # fmt: skip
    groups.append(await world.close_group(age_s=20, side="SELL"))
    groups.append(await world.close_group(age_s=19, side="SELL", user=HERON))
    groups.append(await world.close_group(age_s=500))
    await decided(world, *groups)
    await world.mark(YES, "0.61")
    await world.execute("UPDATE market_price_snapshot SET at = at - interval '1 hour'")
    await world.mark(YES, "0.512345")
    await world.mark(THIRD, "0.2")
    await world.execute("INSERT INTO market_resolution VALUES (:c, '{0,1000000}', now(), 'reported', now())", c=FAR)
    return world


async def exported(database: Database, kind: str) -> list[dict[str, Any]]:
    sink = io.StringIO()
    await write_rows(database.url(), kind, Format.JSONL, sink)
    return [json.loads(line, parse_float=Decimal) for line in sink.getvalue().splitlines()]


def fee_of(attempt: dict[str, Any]) -> int:
    """SPEC 5's fee, in rationals."""
    n, s = attempt["counterfactual_notional_micros"], attempt["counterfactual_share_micros"]
    if not s or n >= s:
        return 0
    price, rate = Fraction(n, s), Fraction(attempt["fee_rate"])
    exponent = Fraction(attempt["inputs"]["market"]["fee_exponent"])
    assert exponent.denominator == 1
    return int(rate * s * (price * (1 - price)) ** int(exponent) // 10) * 10


async def recomputed(database: Database, since: datetime | None = None, label: str | None = None) -> dict[Any, Any]:
    """What `skips` must say, by (scope, reason), None for the total, made from exported rows alone."""
    marks: dict[str, int] = {}
    for row in await exported(database, "marks"):  # in order of time
        marks[row["asset_id"]] = row["price_micros"]
    for market in await exported(database, "markets"):
        marks |= dict(zip(market["asset_ids"], market["payouts_micros"] or (), strict=False))
    found: defaultdict[Any, list[int]] = defaultdict(lambda: [0] * 7)
    for attempt in await exported(database, "attempts"):
        if attempt["decision"] != "SKIP" or (label and attempt["user_label"] != label):
            continue
        if since is not None and datetime.fromisoformat(attempt["decided_at"]) < since:
            continue
        shares, notional = attempt["counterfactual_share_micros"], attempt["counterfactual_notional_micros"]
        has_book = shares is not None
        mark = marks.get(attempt["asset_id"])
        is_known = has_book and (not shares or mark is not None)
        fee = fee_of(attempt) if is_known else 0
        worth = shares * mark // 10**6 if shares and mark is not None else 0
        pnl = (notional - worth if attempt["side"] == "SELL" else worth - notional) - fee if is_known else 0
        sums = (1, not has_book, has_book, has_book and not is_known, notional or 0, fee, pnl)
        for key in (None, *attempt["reason_codes"]):
            found[attempt["scope"], key] = [a + b for a, b in zip(found[attempt["scope"], key], sums, strict=True)]
    return dict(found)


def told(scopes: Iterable[Any]) -> dict[Any, Any]:
    names = ("skips", "no_book", "with_book", "unmarked", "notional_micros", "fee_micros", "pnl_micros")
    return {
        (scope.scope, getattr(each, "reason", None)): [getattr(each, name) for name in names]
        for scope in scopes
        for each in (scope.total, *scope.reasons)
    }


async def test_what_skips_saved_or_cost_is_what_exported_rows_add_up_to(database: Database) -> None:
    world = await skipping_world(database)
    since = datetime.now(UTC) - timedelta(hours=1)
    async with world.database.engine("ui").connect() as connection:
        everything = await read_skips(connection)
        otters = await read_skips(connection, user="otter", since=since)
        globally = await read_skips(connection, scope=GLOBAL)
        later = await read_skips(connection, since=datetime.now(UTC) + timedelta(hours=1))
        with pytest.raises(Rejected, match="expected the name or id of a followed user, got 'nobody'"):
            await read_skips(connection, user="nobody")
    expected = await recomputed(database)
    assert told(everything.scopes) == expected
    assert told(otters.scopes) == await recomputed(database, since, "otter")
    assert told(globally.scopes) == {key: value for key, value in expected.items() if key[0] == "EXEC_GLOBAL"}
    assert [(each.decisions, each.total.skips, each.reasons) for each in later.scopes] == [(0, 0, ())] * 2
    total = {scope.scope: scope.total for scope in everything.scopes}["EXEC_USER"]
    assert (total.skips, total.no_book, total.unmarked) == (8, 1, 1)
    assert total.pnl_micros
    assert total.fee_micros
    by_reason = {each.reason: each for each in everything.scopes[1].reasons}
    assert sum(each.skips for each in by_reason.values()) > total.skips
    assert by_reason["NO_POSITION"].pnl_micros == 0


async def test_an_explained_skip_is_worth_what_the_sums_say(database: Database) -> None:
    world = await skipping_world(database)
    async with world.database.engine().connect() as connection:
        (scope,) = (await read_skips(connection, scope=USER)).scopes
    found = [(await explained(world, str(each.id)))[0].counterfactual for each in await world.attempts(USER)]
    known = [each for each in found if each is not None]
    assert sum(each.notional_micros for each in known) == scope.total.notional_micros
    assert sum(each.pnl_micros or 0 for each in known) == scope.total.pnl_micros
    assert {each.mark_source for each in known if each.share_micros} == {"MIDPOINT", "PAYOUT", None}


async def test_a_market_that_became_known_later_tells_the_fee(database: Database) -> None:
    world = World(database)
    await world.open(market=False)
    await decided(world, await world.close_group(age_s=6))
    await world.mark(YES, "0.6")
    async with world.database.engine().connect() as connection:
        before = (await read_skips(connection, scope=USER)).scopes[0].total
    assert (before.with_book, before.unmarked, before.notional_micros, before.pnl_micros) == (1, 1, usdc(10), 0)
    await world.open_market()
    async with world.database.engine().connect() as connection:
        after = (await read_skips(connection, scope=USER)).scopes[0].total
    assert (after.unmarked, after.fee_micros, after.pnl_micros) == (0, usdc("0.35"), usdc(2) - usdc("0.35"))


async def test_the_fee_of_a_copy_never_made_is_the_engines_own(database: Database) -> None:
    world = await skipping_world(database)
    for rate, exponent in (("0.07", "1"), ("0.0625", "1.000"), ("0.3333333", "2"), ("0.02", "0.5"), ("0.05", "3"),
                           ("0.01", "0"), ("0.04", "1.25"), ("0", "1")):  # fmt: skip
        await world.execute(
            "UPDATE copy_attempt SET fee_rate = CAST(CAST(:rate AS text) AS numeric),"
            " inputs = jsonb_set(inputs, '{market,fee_exponent}', to_jsonb(CAST(:exponent AS text)))",
            rate=rate, exponent=exponent,
        )  # fmt: skip
        attempts = [each for each in await world.attempts(USER) if each.counterfactual_share_micros]
        async with world.database.engine().connect() as connection:
            found = await read_counterfactuals(connection, [each.id for each in attempts])
        assert found
        for each in attempts:
            own = order_fee(
                Decimal(rate), Decimal(exponent), each.counterfactual_notional_micros, each.counterfactual_share_micros
            )
            assert found[each.id].fee_micros == own, (rate, exponent)
