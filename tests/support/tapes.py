"""A short tape of our own for end-to-end tests: some minutes of tape time that hold one of every oddity.

Three users trade four markets: one resolves to 1/0, one to 50/50, one has a wide book, one a thin and one-sided one.
There are twins in one transaction, several fills in one, makers and takers, a fill no log shows, splits, merges,
redeems, a fill after its market's settlement, a combo, and rows that post nothing. The same seed gives the same tape.
"""

import json
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from random import Random
from typing import Any, Final

START_MS: Final = 1_780_000_000_000
LENGTH_MS: Final = 160_000
API_LAG_MS: Final = 3_000
CENT: Final = Decimal("0.01")
FEE_QUANTUM: Final = Decimal("0.00001")

TEXT_FIELDS: Final = [
    "condition_id",
    "token_id",
    "side",
    "title",
    "slug",
    "icon",
    "event_slug",
    "outcome",
    "name",
    "pseudonym",
    "bio",
    "profile_image",
    "profile_image_optimized",
]


@dataclass(frozen=True)
class MarketPlan:
    """One market of the tape; `payouts` come at `resolved_ms` after the start."""

    number: int
    rate: Decimal
    price: Decimal
    spread: Decimal
    depth: Decimal
    payouts: tuple[int, int] | None = None
    resolved_ms: int = 0
    one_sided: bool = False

    @property
    def condition_id(self) -> str:
        """Return the condition's id."""
        return f"0x{self.number:064x}"

    @property
    def tokens(self) -> tuple[str, str]:
        """Return both tokens' ids, as long as real ones."""
        return tuple(str(self.number * 10**76 + index + 1) for index in range(2))  # type: ignore[return-value]


MARKETS: Final = (
    MarketPlan(1, Decimal("0.07"), Decimal("0.55"), CENT, Decimal(4000), (1_000_000, 0), 100_000),
    MarketPlan(2, Decimal("0.05"), Decimal("0.30"), CENT, Decimal(9000), (500_000, 500_000), 130_000),
    MarketPlan(3, Decimal("0.04"), Decimal("0.70"), Decimal("0.05"), Decimal(900)),
    MarketPlan(4, Decimal(0), Decimal("0.80"), CENT, Decimal(6), one_sided=True),
)

CONVERTED: Final = tuple(MarketPlan(number, Decimal(0), Decimal("0.3"), CENT, Decimal(100)) for number in (5, 6, 7))
"""Questions of one negative-risk event; nobody trades them."""
EVENT_ID: Final = "4711"


@dataclass
class TapeBuilder:
    """Collects the lines of a tape."""

    random: Random
    wallets: list[tuple[str, str]]
    activity: list[dict[str, Any]] = field(default_factory=list)
    books: list[dict[str, Any]] = field(default_factory=list)
    mids: dict[tuple[str, int], Decimal] = field(default_factory=dict)
    held: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    transactions: int = 0

    def transaction(self) -> str:
        """Return a new transaction's hash."""
        self.transactions += 1
        return f"0x{self.random.getrandbits(224):056x}{self.transactions:08x}"

    def row(self, kind: str, wallet: str, at_ms: int, **values: Any) -> dict[str, Any]:
        """Add an activity row."""
        amounts = dict.fromkeys(("size", "usdc_size", "price"), Decimal(0))
        blank = {**dict.fromkeys(TEXT_FIELDS, ""), **amounts, "outcome_index": 999}
        stamps = {"timestamp": (START_MS + at_ms) // 1000, "_at_ms": START_MS + at_ms}
        made = {
            "proxy_wallet": wallet,
            "type": kind,
            "transaction_hash": self.transaction(),
            **blank,
            **stamps,
            **values,
        }
        self.activity.append(made)
        return made

    def fill(
        self, wallet: str, at_ms: int, market: MarketPlan, outcome: int, side: str, size: Decimal, **values: Any
    ) -> None:
        """Add a fill at the price its book shows, as taker with the exchange's fee or as maker without."""
        token = market.tokens[outcome]
        step = max(moment for asset, moment in self.mids if asset == token and moment <= at_ms)
        half = CENT / 2 if values.get("_maker") else market.spread / 2
        price = self.mids[token, step] + (half if side == "BUY" else -half)
        gross, fee = size * price, Decimal(0)
        if not values.get("_maker"):
            fee = (size * market.rate * price * (1 - price)).quantize(FEE_QUANTUM, ROUND_DOWN)
        self.held[wallet, token] = self.held.get((wallet, token), Decimal(0)) + (size if side == "BUY" else -size)
        self.row(
            "TRADE",
            wallet,
            at_ms,
            condition_id=market.condition_id,
            token_id=token,
            side=side,
            size=size,
            price=price,
            usdc_size=gross + fee if side == "BUY" else gross - fee,
            outcome_index=outcome,
            **values,
        )

    def twin(self) -> None:
        """Repeat the last fill in its own transaction: two orders filled alike."""
        last = self.activity[-1]
        self.activity.append(dict(last))
        key = (last["proxy_wallet"], last["token_id"])
        self.held[key] += last["size"] if last["side"] == "BUY" else -last["size"]

    def both_legs(self, kind: str, wallet: str, at_ms: int, market: MarketPlan, size: Decimal) -> None:
        """Add a SPLIT or MERGE."""
        for token in market.tokens:
            self.held[wallet, token] = self.held.get((wallet, token), Decimal(0)) + (size if kind == "SPLIT" else -size)
        self.row(kind, wallet, at_ms, condition_id=market.condition_id, size=size, usdc_size=size)


def _add_books(tape: TapeBuilder) -> None:
    for market in MARKETS:
        mid = market.price
        for at_ms in range(0, LENGTH_MS, 2_000):
            mid = min(max(mid + CENT * tape.random.choice((-1, 0, 0, 1)), Decimal("0.15")), Decimal("0.85"))
            for outcome, token in enumerate(market.tokens):
                own = (mid if outcome == 0 else 1 - mid) + market.spread / 2 % CENT
                tape.mids[token, at_ms] = own
                bids = [(own - market.spread / 2 - CENT * step, market.depth * (1 + step)) for step in range(8)]
                asks = [(own + market.spread / 2 + CENT * step, market.depth * (1 + step)) for step in range(8)]
                if market.one_sided and (at_ms // 2_000) % 3 == 0:
                    asks = []
                tape.books.append(_book(tape, market, token, at_ms, bids, asks))


def _book(
    tape: TapeBuilder,
    market: MarketPlan,
    token: str,
    at_ms: int,
    bids: list[tuple[Decimal, Decimal]],
    asks: list[tuple[Decimal, Decimal]],
) -> dict[str, Any]:
    def levels(side: list[tuple[Decimal, Decimal]]) -> list[dict[str, str]]:
        return [{"price": str(price), "size": str(size)} for price, size in reversed(side) if 0 < price < 1]

    return {
        "market": market.condition_id,
        "asset_id": token,
        "timestamp": str(START_MS + at_ms),
        "hash": f"{tape.random.getrandbits(160):040x}",
        "bids": levels(bids),
        "asks": levels(asks),
        "min_order_size": "5",
        "tick_size": "0.01",
        "neg_risk": False,
        "last_trade_price": "0.5",
    }


def _add_trading(tape: TapeBuilder) -> None:
    at_ms = 4_000
    while at_ms < LENGTH_MS - 20_000:
        at_ms += tape.random.choice((200, 700, 1_300, 2_600))
        wallet = tape.random.choice(tape.wallets)[1]
        market = tape.random.choice(MARKETS)
        if market.payouts and at_ms >= market.resolved_ms - 2_000:
            continue
        outcome = int(tape.random.random() < 0.2)
        held = tape.held.get((wallet, market.tokens[outcome]), Decimal(0))
        maker = tape.random.random() < 0.3
        if held > 100 and tape.random.random() < 0.6:
            size = (held * tape.random.choice((Decimal("0.3"), Decimal("0.61"), Decimal(1)))).quantize(CENT)
            tape.fill(wallet, at_ms, market, outcome, "SELL", size, _maker=maker)
        else:
            size = (
                Decimal(tape.random.choice((12, 350, 1_234, 2_900, 7_777))) + Decimal(tape.random.randrange(100)) / 100
            )
            tape.fill(wallet, at_ms, market, outcome, "BUY", size, _maker=maker)
        if tape.random.random() < 0.15:
            tape.fill(
                wallet,
                at_ms,
                market,
                outcome,
                "BUY",
                Decimal("40.5"),
                transaction_hash=tape.activity[-1]["transaction_hash"],
            )


def _add_oddities(tape: TapeBuilder) -> None:
    first, second, third = (wallet for _, wallet in tape.wallets)
    resolved, halved = MARKETS[0], MARKETS[1]
    tape.fill(first, 9_000, resolved, 0, "BUY", Decimal("812.34"))
    tape.twin()
    tape.fill(second, 15_000, halved, 1, "BUY", Decimal("600.01"), _no_log=True)
    tape.fill(third, 15_500, halved, 0, "BUY", Decimal("1000.03"), _maker=True)
    tape.twin()
    tape.both_legs("SPLIT", first, 20_000, resolved, Decimal(640))
    tape.both_legs("SPLIT", second, 24_000, halved, Decimal("333.33"))
    tape.both_legs("MERGE", first, 44_000, resolved, Decimal("250.5"))
    tape.both_legs("MERGE", third, 46_000, MARKETS[2], Decimal(0))
    tape.fill(first, 120_000, resolved, 0, "BUY", Decimal("10.01"), _maker=True)
    claim = {"condition_id": resolved.condition_id, "size": Decimal(5), "usdc_size": Decimal(5)}
    tape.row("REDEEM", first, 106_000, **claim)
    tape.row("REDEEM", second, 140_000, condition_id=resolved.condition_id)
    tape.row("REWARD", third, 30_000, size=Decimal("12.5"), usdc_size=Decimal("12.5"))
    tape.row("FLASH_LOAN", third, 31_000, size=Decimal(1), usdc_size=Decimal(1))
    combo = {"condition_id": "0x03" + "ab" * 30, "token_id": "9" * 75, "side": "BUY", "is_combo": True, "_no_log": True}
    tape.row("TRADE", third, 32_000, size=Decimal(10), usdc_size=Decimal(5), price=Decimal("0.5"), **combo)


def _add_held(tape: TapeBuilder) -> list[dict[str, Any]]:
    """Return what is held at the start: tokens that are traded, resolve, are converted, or are left alone."""
    first, second, third = (wallet for _, wallet in tape.wallets)
    plan = [
        (first, MARKETS[0], 0, Decimal("120.5"), Decimal("0.55")),
        (first, MARKETS[0], 1, Decimal("0.04"), Decimal("0.45")),
        (second, MARKETS[1], 1, Decimal("77.77"), Decimal("0.7")),
        (third, MARKETS[2], 0, Decimal(1000), Decimal("0.7123")),
        (third, CONVERTED[0], 1, Decimal(300), Decimal("0.81")),
        (second, CONVERTED[2], 0, Decimal("5.000001"), Decimal(1) / 4),
    ]
    rows = []
    for wallet, market, outcome, size, price in plan:
        tape.held[wallet, market.tokens[outcome]] = size
        rows.append(
            {
                "proxy_wallet": wallet,
                "token_id": market.tokens[outcome],
                "condition_id": market.condition_id,
                "current_size": size,
                "current_price": price,
                "event_id": EVENT_ID if market in CONVERTED else str(market.number),
                "archived": size < 1,
                "last_event_at": START_MS // 1000 - 86_400,
            }
        )
    tape.row("CONVERSION", third, 40_000, condition_id=CONVERTED[0].condition_id, size=Decimal(120))
    return rows


def _markets() -> list[dict[str, Any]]:
    lines = []
    for market in (*MARKETS, *CONVERTED):
        line: dict[str, Any] = {
            "id": str(market.number),
            "question": f"Market {market.number}?",
            "conditionId": market.condition_id,
            "slug": f"market-{market.number}",
            "endDate": "2030-01-01T00:00:00Z",
            "outcomes": '["Yes", "No"]',
            "outcomePrices": '["0.5", "0.5"]',
            "clobTokenIds": json.dumps(market.tokens),
            "active": True,
            "closed": False,
            "archived": False,
            "acceptingOrders": True,
            "enableOrderBook": True,
            "orderPriceMinTickSize": Decimal("0.01"),
            "orderMinSize": 5,
            "negRisk": False,
            "feesEnabled": bool(market.rate),
            "umaResolutionStatuses": "[]",
            "version": "v1",
        }
        if market in CONVERTED:
            line |= {"negRisk": True, "events": [{"id": EVENT_ID, "slug": "who-wins", "title": "Who wins?"}]}
        if market.rate:
            line["feeSchedule"] = {"rate": market.rate, "exponent": 1, "takerOnly": True, "rebateRate": Decimal("0.2")}
        lines.append(line)
        if market.payouts:
            closed = {"closed": True, "acceptingOrders": False, "umaResolutionStatus": "resolved"}
            lines.append({**line, **closed, "_at_ms": START_MS + market.resolved_ms})
    return lines


def _resolutions() -> list[dict[str, Any]]:
    return [
        {
            "condition_id": market.condition_id,
            "status": "resolved",
            "payouts": list(market.payouts),
            "resolution_source": "reported",
            "was_disputed": False,
            "resolved_at": "2026-05-28T20:00:00Z",
            "last_update_timestamp": "2026-05-28T20:00:00Z",
            "_at_ms": START_MS + market.resolved_ms,
        }
        for market in MARKETS
        if market.payouts
    ]


def write_tape(folder: Path, *, seed: int = 7) -> Path:
    """Write the tape into a folder and return it."""
    random = Random(seed)  # noqa: S311  a tape wants the same dice every time
    tape = TapeBuilder(random, [(label, f"0x{random.getrandbits(160):040x}") for label in ("ann", "ben", "cleo")])
    _add_books(tape)
    held = _add_held(tape)
    _add_trading(tape)
    _add_oddities(tape)
    folder.mkdir(parents=True, exist_ok=True)
    head = {
        "name": "short",
        "start_ms": START_MS,
        "end_ms": START_MS + LENGTH_MS,
        "api_lag_ms": API_LAG_MS,
        "wallets": [{"label": label, "wallet": wallet} for label, wallet in tape.wallets],
    }
    (folder / "tape.json").write_text(json.dumps(head), encoding="utf-8")
    files = {
        "activity.jsonl": sorted(tape.activity, key=lambda row: int(row["_at_ms"])),
        "books.jsonl": tape.books,
        "markets.jsonl": _markets(),
        "resolutions.jsonl": _resolutions(),
        "positions.jsonl": held,
    }
    for name, lines in files.items():
        text = "".join(json.dumps(line, default=float) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
