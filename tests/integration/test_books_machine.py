"""Any order, any number of times, with deaths in between: the books equal the toy's after every step.

`SHADOWBOOK_MACHINE_EXAMPLES=2000` looks longer and elsewhere each time; the suite plays the same few dozen stories.
"""

import asyncio
import os
import secrets
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from libs.common.domain.kinds import EventKind, GroupKind, Scope
from tests.integration.test_ledger import START
from tests.support import databases
from tests.support.books_world import ASSETS, CONDITIONS, LATE, USERS, Attempt, BooksWorld, Event
from tests.support.crashes import Death
from tests.support.databases import Cluster, Database
from tests.support.toy_books import Happened, opened, paired, traded
from tests.support.toy_ledger import ToyMove

pytestmark = [pytest.mark.integration, pytest.mark.timeout(0)]

EXAMPLES: Final = int(os.environ.get("SHADOWBOOK_MACHINE_EXAMPLES", "0"))
SUITE_EXAMPLES: Final = 16
STEPS: Final = 30

users = st.sampled_from(list(USERS))
assets = st.sampled_from(ASSETS)
conditions = st.sampled_from(list(CONDITIONS))
late = {asset for legs in LATE.values() for asset in legs}
seconds = st.integers(0, 5).map(lambda second: START + timedelta(seconds=second))
amounts = st.integers(1, 9) | st.integers(1, 5_000_000)
notionals = st.integers(0, 3_000_000)
prices = st.integers(0, 1_000_000)
payouts = st.sampled_from([(1_000_000, 0), (0, 1_000_000), (500_000, 500_000), (333_333, 666_667), (1, 999_999)])
deaths = st.none() | st.tuples(st.sampled_from(Death), st.integers(0, 14))
replicas = st.integers(0, 1)
picks = st.lists(st.integers(0, 200), max_size=6)


class BooksMachine(RuleBasedStateMachine):
    """Facts are heard of and told independently of each other."""

    def __init__(self, runner: asyncio.Runner, world: BooksWorld) -> None:
        super().__init__()
        self.runner, self.world, self.began = runner, world, False

    def run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(doing)

    @initialize(are_open=st.booleans())
    def begin(self, *, are_open: bool) -> None:
        self.run(self.world.begin(are_open=are_open))
        self.began = True

    @rule(
        user=users, asset=assets | st.sampled_from(sorted(late)), side=st.sampled_from(["BUY", "SELL"]), shares=amounts,
        notional=notionals, fee=st.sampled_from([0, 0, 10, 70]),
        at=seconds, tx=st.integers(0, 3), place=st.integers(0, 9),
        logged=st.booleans(), twins=st.sampled_from([1, 1, 1, 2]), booked=st.sampled_from([True] * 5 + [False]),
    )  # fmt: skip
    def a_fill(
        self, user: str, asset: str, side: str, shares: int, notional: int, fee: int, at: Any, tx: int, place: int,
        twins: int, *, logged: bool, booked: bool,
    ) -> None:  # fmt: skip
        for _ in range(twins):
            index = place * 1_000 + next(self.world.sequence)
            row = {"asset_id": asset, "event_time": at, "tx_hash": f"0xt{tx}", "ordinal": index, "booked": booked}
            row |= {"log_index": index, "first_source": "CHAIN"} if logged else {"first_source": "DATA_API"}
            event = self.run(self.world.fill(side, shares, notional, fee, user_id=USERS[user], **row))
            sign = 1 if side == "BUY" else -1
            happened = traded((at, False, f"0xt{tx}", index), asset, sign * shares, sign * notional, fee)
            self.world.events.append(Event(event, EventKind.TRADE, user, happened if booked else None))

    @precondition(lambda self: self.began and self.world.events)
    @rule(pick=st.integers(0, 200), fee=st.integers(1, 10))
    def a_log_tells_more(self, pick: int, fee: int) -> None:
        """A fill first seen by the API gets its place and exact fee and is told again; posted amounts stay."""
        fills = [each for each in self.world.events if each.kind is EventKind.TRADE and not each.is_reversed]
        event = fills[pick % len(fills)] if fills else None
        if event is None or event.happened is None:
            return
        (move,), index = event.happened.moves, next(self.world.sequence)
        sign = 1 if move.shares > 0 else -1
        notional = abs(move.paid) - sign * fee
        update = (
            "UPDATE trade_event SET usdc_notional_micros = :notional, fee_micros = :fee, log_index = :index "
            "WHERE id = :id AND first_source = 'DATA_API' AND fee_micros = 0 AND log_index IS NULL RETURNING tx_hash"
        )
        if notional < 0:
            return
        told = self.run(self.world.change(update, id=event.id, notional=notional, fee=fee, index=index))
        if told:
            when = (move.when[0], False, told[0].tx_hash, index)
            event.happened = traded(when, move.asset, move.shares, sign * notional, fee)
            self.run(self.world.perform(self.world.post_events([event]), 0, None))
            self.world.believe_events([event])
            self.world.toy.portfolios[Scope.SHADOW_USER, event.user].place(str(event.id), when)
            self.agree()

    @rule(
        user=users, condition=conditions | st.sampled_from(list(LATE)), kind=st.sampled_from(["SPLIT", "MERGE"]),
        shares=amounts, at=seconds,
    )  # fmt: skip
    def a_pair(self, user: str, condition: str, kind: str, shares: int, at: Any) -> None:
        ordinal, sign = next(self.world.sequence), 1 if kind == "SPLIT" else -1
        row = {"condition_id": condition, "event_time": at, "tx_hash": "0xt1", "ordinal": ordinal}
        event = self.run(self.world.activity(kind, shares, user_id=USERS[user], **row))
        happened = paired((at, False, "0xt1", ordinal), (CONDITIONS | LATE)[condition], sign * shares)
        self.world.events.append(Event(event, EventKind(kind), user, happened, condition=condition))

    @precondition(lambda self: self.began and self.world.unknown)
    @rule(replica=replicas, death=deaths)
    def a_market_is_learned(self, replica: int, death: tuple[Death, int] | None) -> None:
        self.run(self.world.learn(min(self.world.unknown), replica, death))
        self.agree()

    @rule(user=users, condition=conditions, shares=amounts)
    def a_redeem(self, user: str, condition: str, shares: int) -> None:
        event = self.run(self.world.activity("REDEEM", shares, user_id=USERS[user], condition_id=condition))
        self.world.events.append(Event(event, EventKind.REDEEM, user, None))

    @rule(user=users, asset=assets, shares=amounts, mark=prices)
    def an_opening(self, user: str, asset: str, shares: int, mark: int) -> None:
        if any(each.kind is EventKind.OPENING and each.user == user and asset in str(each.happened)
               for each in self.world.events):  # fmt: skip
            return
        at = START - timedelta(hours=1)
        happened = opened((at, True, "", -1), asset, shares, mark)
        self.run(self.world.sync(EventKind.OPENING, user, happened, mark, event_time=at))

    @rule(user=users, asset=assets, shares=amounts, cash=st.integers(0, 900_000), at=seconds, gone=st.booleans())
    def a_conversion(self, user: str, asset: str, shares: int, cash: int, at: Any, *, gone: bool) -> None:
        tx = f"0xv{next(self.world.sequence)}"
        move = ToyMove((at, False, tx, -1), asset, -shares if gone else shares, -cash, cash)
        place = {"event_time": at, "tx_hash": tx}
        self.run(self.world.sync(EventKind.ADJUSTMENT, user, Happened((move,)), None, **place))

    @precondition(lambda self: self.began and self.world.events)
    @rule(pick=st.integers(0, 200), mined_again=st.booleans(), at=seconds)
    def a_reorg(self, pick: int, at: Any, *, mined_again: bool) -> None:
        event = self.world.events[pick % len(self.world.events)]
        if event.kind is not EventKind.TRADE or event.is_reversed:
            return
        event.is_reversed = True
        self.run(self.world.change("UPDATE trade_event SET status = 'REVERSED' WHERE id = :id", id=event.id))
        if not mined_again or event.happened is None:
            return
        (row,) = self.run(self.world.rows("SELECT * FROM trade_event WHERE id = :id", id=event.id))
        kept = {name: getattr(row, name) for name in ("user_id", "asset_id", "tx_hash", "ordinal")}
        index = row.ordinal + 1_000_000
        fresh = self.run(
            self.world.fill(
                row.side,
                row.share_micros,
                row.usdc_notional_micros,
                row.fee_micros,
                **kept,
                event_time=at,
                log_index=index,
                incarnation=row.incarnation + 1,
            )
        )
        (move,) = event.happened.moves
        happened = traded((at, False, row.tx_hash, index), move.asset, move.shares, move.paid, row.fee_micros)
        self.world.events.append(Event(fresh, EventKind.TRADE, event.user, happened))

    @precondition(lambda self: self.began)
    @rule(chosen=picks, replica=replicas, death=deaths)
    def events_are_told(self, chosen: list[int], replica: int, death: tuple[Death, int] | None) -> None:
        batch = self.chosen_events(chosen)
        if batch:
            self.run(self.world.perform(self.world.post_events(batch), replica, death))
            self.world.believe_events(batch)
            self.agree()

    @precondition(lambda self: self.began)
    @rule(
        everyone=st.booleans(), user=users, kind=st.sampled_from(["BUY", "BUY", "SELL", "SPLIT", "MERGE"]),
        asset=assets, shares=amounts, price=prices, fee=st.sampled_from([0, 130]),
    )  # fmt: skip
    def a_decision(
        self, user: str, kind: str, asset: str, shares: int, price: int, fee: int, *, everyone: bool
    ) -> None:
        scope = Scope.EXEC_GLOBAL if everyone else Scope.EXEC_USER
        owner = None if everyone else user
        before = self.world.prospect(scope, owner)
        legs = next(legs for legs in CONDITIONS.values() if asset in legs)
        condition = next(name for name, each in CONDITIONS.items() if each == legs)
        if kind in {"SELL", "MERGE"}:
            held = [before.position(each).shares for each in ((asset,) if kind == "SELL" else legs)]
            shares = min(shares, *held)
        if shares <= 0 or (kind in {"SELL", "MERGE"} and self.is_resolved_unposted(condition, scope, owner)):
            return
        notional = shares * price // 1_000_000
        sign = -1 if kind in {"SELL", "MERGE"} else 1
        if kind in {"BUY", "SELL"}:
            fee = min(fee, notional)
            happened = traded((START,), asset, sign * shares, sign * notional, fee, user)
            row: dict[str, Any] = {"asset_id": asset, "side": kind}
        else:
            fee, happened = 0, paired((START,), legs, sign * shares, user)
            row = {"asset_id": None, "side": None, "kind": GroupKind(kind)}
        if before.cash() + sum(move.cash for move in happened.moves) - fee < 0:
            return
        self.run(self.world.replicas[0].open_portfolios())
        row |= {"user_id": USERS[user], "condition_id": condition}
        attempt = self.run(self.world.attempt(scope, shares, notional, fee, **row))
        self.world.attempts.append(Attempt(attempt, scope, owner, happened))

    def is_resolved_unposted(self, condition: str, scope: Scope, owner: str | None) -> bool:
        """Tell whether a reduction would sell what is about to be settled, which no view of a portfolio shows."""
        unposted = [each for each in self.world.attempts if each.id not in self.world.posted_attempts]
        mine = any((each.scope, each.user) == (scope, owner) for each in unposted)
        return mine and CONDITIONS[condition][0] in self.world.toy.payouts

    @precondition(lambda self: self.began and self.world.attempts)
    @rule(chosen=picks.filter(bool), replica=replicas, death=deaths)
    def decisions_are_told(self, chosen: list[int], replica: int, death: tuple[Death, int] | None) -> None:
        batch = self.chosen_attempts(chosen)
        self.run(self.world.perform(self.world.post_attempts(batch), replica, death))
        self.world.believe_attempts({(each.scope, each.user) for each in batch})
        self.agree()

    @precondition(lambda self: self.began)
    @rule(events=picks, attempts=picks)
    def everything_is_told_at_once(self, events: list[int], attempts: list[int]) -> None:
        told, decided = self.chosen_events(events), self.chosen_attempts(attempts)
        acts = [self.world.post_events(told)] * bool(told) + [self.world.post_attempts(decided)] * bool(decided)
        self.run(self.world.together(*acts))
        self.world.believe_events(told)
        self.world.believe_attempts({(each.scope, each.user) for each in decided})
        self.agree()

    @precondition(lambda self: self.began)
    @rule(condition=conditions, pays=payouts, chosen=picks, replica=replicas, death=deaths, at_once=st.booleans())
    def a_resolution(
        self, condition: str, pays: tuple[int, int], chosen: list[int], replica: int, death: Any, *, at_once: bool
    ) -> None:
        """Payouts become final; what was under way may be posted before they are settled, once."""
        world, legs = self.world, CONDITIONS[condition]
        if legs[0] not in world.toy.payouts:
            self.run(world.resolve(*pays, condition=condition))
            world.toy.payouts |= {leg: (pay, START + timedelta(minutes=5)) for leg, pay in zip(legs, pays, strict=True)}
            batch = self.chosen_events(chosen)
            if batch:
                self.run(world.perform(world.post_events(batch), replica, None))
                world.believe_events(batch)
        if at_once:
            self.run(world.together(lambda books: books.settle([condition])))
        self.run(world.perform(lambda books: books.settle([condition, condition]), replica, death))
        self.agree()

    @precondition(lambda self: self.began)
    @rule(user=st.none() | users, amount=st.integers(-12_000_000_000, 3_000_000_000).filter(bool), replica=replicas,
          death=deaths)  # fmt: skip
    def a_flow(self, user: str | None, amount: int, replica: int, death: tuple[Death, int] | None) -> None:
        self.run(self.world.replicas[0].open_portfolios())
        self.run(self.world.flow(user, amount, replica, death))
        self.agree()

    @precondition(lambda self: self.began)
    @rule(asset=assets, price=prices, replica=replicas, death=deaths)
    def a_mark(self, asset: str, price: int, replica: int, death: tuple[Death, int] | None) -> None:
        self.run(self.world.marks(asset, price, replica, death))
        self.agree()

    def chosen_events(self, chosen: list[int]) -> list[Event]:
        heard = self.world.events
        return list({each % len(heard): heard[each % len(heard)] for each in chosen}.values()) if heard else []

    def chosen_attempts(self, chosen: list[int]) -> list[Attempt]:
        made = self.world.attempts
        return list({each % len(made): made[each % len(made)] for each in chosen}.values()) if made else []

    def agree(self) -> None:
        self.run(self.world.agree())

    def teardown(self) -> None:
        if self.began:
            self.run(self.world.finish())


@contextmanager
def worlds(cluster: Cluster, runner: asyncio.Runner) -> Iterator[BooksWorld]:
    name = f"test_{secrets.token_hex(6)}"
    runner.run(cluster.execute(f"CREATE DATABASE {name} TEMPLATE {databases.TEMPLATE}"))
    world = BooksWorld(Database(cluster, name))
    try:
        yield world
    finally:
        runner.run(world.close())
        runner.run(cluster.execute(f"DROP DATABASE {name} WITH (FORCE)"))


def test_the_books_equal_the_toys_whatever_happens_in_whatever_order(postgres_cluster: Cluster) -> None:
    stories = settings(
        max_examples=EXAMPLES or SUITE_EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    with asyncio.Runner() as runner, worlds(postgres_cluster, runner) as world:

        class Machine(BooksMachine):
            def __init__(self) -> None:
                super().__init__(runner, world)

        run_state_machine_as_test(Machine, settings=stories)
