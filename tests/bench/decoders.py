"""How many wire objects a second one core decodes: logs as the node pushes them, rows of `/v2/activity` pages.

Both from the bytes on the wire to the domain's values, medians of several rounds.
"""

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import orjson

from libs.common.upstream.activity import ActivityRow, decode_activity_row
from libs.common.upstream.chain import EXCHANGES, ORDER_FILLED, decode_order_filled
from libs.common.upstream.clob import decode_book
from libs.common.upstream.gateway import parse_json

ROUNDS: Final = 9
COUNT: Final = 2_000
LEVELS: Final = 60
WALLET: Final = "0x" + "a1" * 20


def log_frame(number: int) -> bytes:
    """Return a notification of one fill."""
    words = (0, 77 + number, 6_696_000 + number, 7_440_000 + number, 33_480, 0, 0)
    log = {
        "address": EXCHANGES[0],
        "topics": [ORDER_FILLED, f"0x{number:064x}", "0x" + "0" * 24 + WALLET[2:], "0x" + "0" * 24 + EXCHANGES[0][2:]],
        "data": "0x" + "".join(format(word, "064x") for word in words),
        "blockNumber": "0x5fb58fe",
        "transactionHash": f"0x{number:064x}",
        "transactionIndex": "0x1a",
        "blockHash": "0x" + "bb" * 32,
        "blockTimestamp": "0x6a93a580",
        "logIndex": hex(number % 500),
        "removed": False,
    }
    params = {"subscription": "0x1", "result": log}
    return orjson.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})


def activity_page() -> bytes:
    """Return a page of rows as long as real ones."""
    rows = [
        {
            "proxy_wallet": WALLET,
            "timestamp": 1_789_380_859 + number,
            "condition_id": "0x" + "5d" * 32,
            "type": "TRADE",
            "size": 7.44,
            "usdc_size": 6.72948,
            "transaction_hash": f"0x{number:064x}",
            "price": 0.9,
            "token_id": "110891621175623911123262418934389066157020231116267817028449905194275827971468",
            "side": "BUY",
            "outcome_index": 1,
            "title": "Will the highest temperature in a large city be 37 degrees on some day of the year?",
            "slug": "highest-temperature-in-a-large-city-on-some-day-of-the-year",
            "icon": "https://example.org/a-picture-of-a-large-city-0000000000.jpg",
            "event_slug": "highest-temperature-in-a-large-city-on-some-day",
            "outcome": "No",
            "name": "somebody",
            "pseudonym": "Some-Body",
            "bio": "",
            "profile_image": "",
            "profile_image_optimized": "",
        }
        for number in range(COUNT)
    ]
    return json.dumps({"data": rows, "pagination": {"has_more": False}}).encode()


def book_body() -> bytes:
    """Return a book, worst level first."""
    bids = [{"price": f"0.{number:03}", "size": "18228.38"} for number in range(1, LEVELS + 1)]
    asks = [{"price": f"0.{999 - number:03}", "size": "429.57"} for number in range(LEVELS)]
    book = {"asset_id": "7" * 77, "timestamp": "1787102287053", "hash": "ab" * 20, "bids": bids, "asks": asks}
    return json.dumps(book).encode()


def per_second(count: int, work: Callable[[], None]) -> int:
    """Return the median rate of `work`, which handles `count` objects, in seconds of one core."""
    rates = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        rates.append(count / (time.process_time() - started))
    return round(median(rates))


def measure_decoders() -> dict[str, Any]:
    """Return the rates."""
    frames, page, book = [log_frame(number) for number in range(COUNT)], activity_page(), book_body()

    def logs() -> None:
        for frame in frames:
            decode_order_filled(orjson.loads(frame)["params"]["result"])

    def rows() -> None:
        decoded = [decode_activity_row(row, WALLET) for row in parse_json(page)["data"]]
        if not all(isinstance(row, ActivityRow) and row.odd is None for row in decoded):
            raise RuntimeError("the bench's own rows do not decode")

    def books() -> None:
        for _ in range(100):
            decode_book(parse_json(book))

    return {
        "logs_decoded_per_s": per_second(COUNT, logs),
        "activity_rows_decoded_per_s": per_second(COUNT, rows),
        "books_decoded_per_s": per_second(100, books),
    }


if __name__ == "__main__":
    for name, value in measure_decoders().items():
        sys.stdout.write(f"{name:28}{value}\n")
