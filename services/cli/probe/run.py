"""The probe's way through the endpoints: what one answers names what the next is asked about."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from aiolimiter import AsyncLimiter

from libs.common.domain.kinds import Role
from libs.common.upstream.activity import ActivityRow, decode_activity_row
from libs.common.upstream.clob import (
    TOKENS_PER_CALL,
    decode_book,
    decode_last_trade,
    expect_list,
    expect_object,
)
from libs.common.upstream.data_api import (
    CONDITIONS_PER_CALL,
    decode_page,
    decode_position,
    decode_rows,
)
from libs.common.upstream.fields import (
    FieldError,
    an_object,
    read_amount,
    read_hash,
    read_hex_id,
    read_price,
    read_price_micros,
    read_seconds,
    read_token,
    read_wallet,
)
from libs.common.upstream.gamma import IDS_PER_CALL, decode_market, market_list
from libs.common.upstream.resolutions import decode_resolution
from services.cli.probe import known
from services.cli.probe.asking import PER_SECOND_MAX, Asker
from services.cli.probe.node import ask_node
from services.cli.probe.points import Facts, settle
from services.cli.probe.report import Check, Report
from services.cli.probe.targets import Target

ROWS: Final = 100
Query = list[tuple[str, str | int]]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator wants asked about."""

    wallet: str | None = None
    token: str | None = None


async def run(target: Target, wishes: Wishes, *, per_second_max: int = PER_SECOND_MAX) -> Report:
    """Ask everything once, so many requests a second, and return what was found."""
    report = Report(target.name)
    asker = Asker(target, report, AsyncLimiter(per_second_max, 1))
    try:
        await _Way(asker, Facts(), wishes).all()
    finally:
        await asker.close()
    return report


class _Way:
    def __init__(self, asker: Asker, facts: Facts, wishes: Wishes) -> None:
        self.asker, self.facts, self.wishes = asker, facts, wishes
        self.wallets: list[str] = [wishes.wallet] if wishes.wallet else []
        self.tokens: list[str] = [wishes.token] if wishes.token else []
        self.conditions: list[str] = []

    async def all(self) -> None:
        """Ask everything; what comes first names what to ask about."""
        await self.trades()
        node = await ask_node(self.asker.target.rpc, self.asker.report)
        self.facts.fills = node.fills
        self.facts.filter_answer, self.facts.third_answer = node.filter_answer, node.third_answer
        self.learn_from_chain()
        await self.markets()
        await self.wallet_of_someone()
        await self.resolutions()
        await self.books()
        self.facts.rate_limited = self.asker.rate_limited
        self.asker.report.points = settle(self.facts)

    def _learn(self, wallets: Iterable[str] = (), tokens: Iterable[str] = (), conditions: Iterable[str] = ()) -> None:
        for known_ones, found in ((self.wallets, wallets), (self.tokens, tokens), (self.conditions, conditions)):
            known_ones.extend(each for each in dict.fromkeys(found) if each not in known_ones)

    async def trades(self) -> None:
        """Ask who traded what last; optional, for it only names what to ask about."""
        query: Query = [("limit", ROWS), ("taker_only", "false"), _fresh()]
        check, document = await self.asker.ask("data", "GET /v2/trades", query, needed=False)
        rows = _taken(check, document, lambda page: decode_page(page).rows)
        for wallet, token, condition in check.judge(rows, _trade, known.TRADE) if rows else ():
            self._learn([wallet], [token], [condition])
        old, document = await self.asker.ask("data", "GET /trades", [("limit", 1)], needed=False, listed=False)
        self.facts.v1_answer = "status 200, they are still served" if document is not None else old.detail or None

    def learn_from_chain(self) -> None:
        """Put the tokens of takers first: their fees tell how fees are rounded."""
        takers = [
            fill for fill in self.facts.fills if fill.role is Role.TAKER and fill.fee_micros and not fill.is_combo
        ]
        chosen = [self.wishes.token] if self.wishes.token else []
        first = dict.fromkeys([*chosen, *(fill.asset_id for fill in takers)])
        self.tokens = [*first, *(token for token in self.tokens if token not in first)]
        self._learn([fill.wallet for fill in self.facts.fills])

    async def markets(self) -> None:
        """Look markets up the ways Shadowbook does, then list some for more tokens."""
        listed = await self._listing("keyset, open", [("closed", "false"), ("limit", ROWS)], needed=False)
        self._learn(
            tokens=[outcome.asset_id for market in listed for outcome in market.outcomes],
            conditions=[market.condition_id for market in listed],
        )
        if not self.tokens:
            self._nothing("gamma", "GET /markets/keyset?clob_token_ids", "token")
        else:
            query: Query = [("clob_token_ids", each) for each in self.tokens[:IDS_PER_CALL]]
            found = await self._listing("clob_token_ids", [*query, ("closed", "false"), ("limit", ROWS)])
            await self._listing("clob_token_ids, closed", [*query, ("closed", "true"), ("limit", ROWS)])
            self.facts.markets = found or listed
        if self.conditions:
            query = [("condition_ids", each) for each in self.conditions[:IDS_PER_CALL]]
            self.facts.markets += await self._listing("condition_ids", [*query, ("closed", "false"), ("limit", ROWS)])
        if self.facts.markets:
            path = f"GET /markets/{self.facts.markets[0].id}"
            check, document = await self.asker.ask("gamma", path, needed=False, label="GET /markets/ID")
            if document is not None:
                check.judge([document], decode_market, known.MARKET)

    async def _listing(self, name: str, query: Query, *, needed: bool = True) -> list[Any]:
        check, document = await self.asker.ask(
            "gamma", "GET /markets/keyset", query, needed=needed, label=f"GET /markets/keyset ({name})"
        )
        wires = _taken(check, document, market_list)
        self.facts.market_wires += [wire for wire in wires if isinstance(wire, dict)]
        return check.judge(wires, decode_market, known.MARKET) if wires else []

    async def wallet_of_someone(self) -> None:
        """Ask what a wallet did and what it holds."""
        if not self.wallets:
            self._nothing("data", "GET /v2/activity", "wallet")
            self._nothing("data", "GET /v2/positions", "wallet")
            return
        wallet = self.wallets[0]
        latest: Query = [("user", wallet), ("start", 1), ("sort_by", "TIMESTAMP"), ("sort_direction", "DESC")]
        latest.append(("exclude_deposits_withdrawals", "false"))
        found, cursor = await self._activity("GET /v2/activity", wallet, [*latest, ("limit", ROWS)])
        self._learn(tokens=[row.asset_id for row in found if row.type == "TRADE"])
        if found:
            until = max(row.timestamp for row in found)
            found, cursor = await self._activity(
                "GET /v2/activity (until a time, a row a page)", wallet, [*latest, ("end", until), ("limit", 1)]
            )
        if found and cursor:
            await self._activity(
                "GET /v2/activity (next page)", wallet, [*latest, ("end", until), ("limit", 1), ("cursor", cursor)]
            )
        listed: Query = [("user", wallet), ("sort_by", "TIMESTAMP"), ("sort_direction", "ASC"), ("limit", ROWS)]
        every: Query = [("filter_type", "TOKENS"), ("filter_amount", 0), ("include_archived", "true")]
        await self._positions("GET /v2/positions", [*listed, ("status", "OPEN"), *every])
        await self._positions("GET /v2/positions (closed)", [*listed, ("status", "CLOSED"), ("start", 1)])

    async def _activity(self, label: str, wallet: str, query: Query) -> tuple[list[ActivityRow], str | None]:
        check, document = await self.asker.ask("data", "GET /v2/activity", [*query, _fresh()], label=label)
        page = _taken(check, document, decode_page)
        if not page:
            return [], None
        return check.judge(page.rows, lambda wire: _activity(wire, wallet), known.ACTIVITY), page.next_cursor

    async def _positions(self, label: str, query: Query) -> None:
        check, document = await self.asker.ask("data", "GET /v2/positions", [*query, _fresh()], label=label)
        if rows := _taken(check, document, lambda page: decode_page(page).rows):
            check.judge(rows, decode_position, known.POSITION)

    async def resolutions(self) -> None:
        """Ask how some closed markets ended."""
        closed = await self._listing("keyset, closed", [("closed", "true"), ("limit", 20)], needed=False)
        self.conditions = [*(market.condition_id for market in closed), *self.conditions]
        if not self.conditions:
            self._nothing("data", "GET /v2/resolutions", "condition")
            return
        query: Query = [
            ("condition", ",".join(dict.fromkeys(self.conditions[:CONDITIONS_PER_CALL]))),
            _fresh(),
        ]
        check, document = await self.asker.ask("data", "GET /v2/resolutions", query)
        if rows := _taken(check, document, decode_rows):
            check.judge(rows, _resolution, known.RESOLUTION)

    async def books(self) -> None:
        """Ask for books and prices of as many tokens at once as Shadowbook asks for."""
        if not self.tokens:
            for path in ("POST /books", "POST /midpoints", "POST /last-trades-prices"):
                self._nothing("clob", path, "token")
            return
        tokens = self.tokens[:TOKENS_PER_CALL]
        asked = [{"token_id": each} for each in tokens]
        check, document = await self.asker.ask("clob", "POST /books", payload=asked)
        if wires := _taken(check, document, expect_list):
            self.facts.batch["/books"] = len(tokens)
            self.facts.books = {book.asset_id: book for book in check.judge(wires, decode_book, known.BOOK)}
        check, document = await self.asker.ask("clob", "POST /midpoints", payload=asked)
        if answer := _taken(check, document, expect_object):
            self.facts.batch["/midpoints"] = len(tokens)
            priced = [(token, answer[token]) for token in tokens if answer.get(token) not in (None, "")]
            check.judge(priced, lambda each: read_price_micros(each[1], "midpoint", "midpoints"), frozenset())
        check, document = await self.asker.ask("clob", "POST /last-trades-prices", payload=asked)
        if wires := _taken(check, document, expect_list):
            self.facts.batch["/last-trades-prices"] = len(tokens)
            check.judge(wires, decode_last_trade, known.LAST_TRADE)
        token = next((each for each in tokens if each in self.facts.books), tokens[0])
        check, document = await self.asker.ask("clob", "GET /book", [("token_id", token)], needed=False)
        if document is not None:
            check.judge([document], decode_book, known.BOOK)
        query: Query = [("token_id", token), ("side", "BUY")]
        _, document = await self.asker.ask("clob", "GET /price", query, needed=False, listed=False)
        if isinstance(document, dict):
            try:
                self.facts.buy_price = (token, read_price_micros(document.get("price"), "price", "price"))
            except ValueError:
                self.facts.buy_price = None

    def _nothing(self, host: str, endpoint: str, what: str) -> None:
        check = Check(host, endpoint, needed=True)
        check.fail(f"not tried: no {what} to ask about was found; name one with --wallet and --token")
        self.asker.report.checks.append(check)


def _fresh() -> tuple[str, str | int]:
    return ("_", time.time_ns())


def _taken(check: Check, document: Any, take: Any) -> Any:
    """Return the objects in a document; a document of another shape fails the check."""
    if document is None:
        return []
    try:
        found = take(document)
    except ValueError as error:
        check.fail(str(error))
        return []
    if not found:
        check.detail = "answers, but with nothing to decode"
    return found


def _trade(wire: object) -> tuple[str, str, str]:
    row = an_object(wire, "trade")
    read_seconds(row.get("timestamp"), "timestamp", "trade")
    read_hash(row.get("transaction_hash"), "transaction_hash", "trade")
    read_amount(row.get("size"), "size", "trade")
    read_price(row.get("price"), "price", "trade")
    if row.get("side") not in ("BUY", "SELL"):
        raise FieldError("trade", "side", "BUY or SELL", row.get("side"))
    return (
        read_wallet(row.get("proxy_wallet"), "proxy_wallet", "trade"),
        read_token(row.get("token_id"), "token_id", "trade"),
        read_hex_id(row.get("condition_id"), "condition_id", "trade"),
    )


def _activity(wire: object, wallet: str) -> ActivityRow:
    row = decode_activity_row(wire, wallet)
    if not isinstance(row, ActivityRow):
        raise ValueError(row.reason)  # noqa: TRY004  one error type at the edge
    if row.odd is not None and not row.is_combo:
        raise ValueError(row.odd)
    if not row.type:
        raise FieldError("activity row", "type", "a word", row.wire.get("type"))
    return row


def _resolution(wire: object) -> object:
    row = an_object(wire, "resolution")
    read_hex_id(row.get("condition_id"), "condition_id", "resolution")
    if not isinstance(row.get("status"), str):
        raise FieldError("resolution", "status", "a word", row.get("status"))
    return decode_resolution(row)
