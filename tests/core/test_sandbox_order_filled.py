"""The logs the sandbox derives from activity rows are the logs the chain had."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.sandbox.order_filled import address_topic, block_second, fee_micros, fill_data, log_object, micros

PAYLOADS = Path(__file__).parents[3] / "shared" / "reference" / "payloads"
recorded = pytest.mark.skipif(not PAYLOADS.is_dir(), reason=f"recorded payloads are not at {PAYLOADS}")


def order_filled(name: str) -> dict[str, Any]:
    cases = json.loads((PAYLOADS / "onchain" / "order_filled_with_api_values.json").read_text())
    return next(dict(case) for case in cases if case["name"] == name)


@recorded
@pytest.mark.parametrize(
    ("name", "side", "size", "price", "usdc_size"),
    [
        ("BUY_LOG", "BUY", "2.56", "0.92", "2.3552"),
        ("SELL_LOG", "SELL", "6", "0.48", "2.77517"),
        ("TAKER_OWN_ORDER_LOG", "SELL", "2.56", "0.92", "2.34202"),
    ],
)
def test_row_becomes_the_recorded_log(name: str, side: str, size: str, price: str, usdc_size: str) -> None:
    log = order_filled(name)["log"]
    cash = micros(Decimal(usdc_size))
    fee = fee_micros(Decimal(size), Decimal(price), cash)
    data = fill_data(side, str(int(log["data"][66:130], 16)), micros(Decimal(size)), cash, fee)
    assert data == log["data"]
    written = log_object(
        address=log["address"],
        topics=tuple(log["topics"]),
        data=data,
        second=int(log["blockTimestamp"], 16),
        block_hash=log["blockHash"],
        tx_hash=log["transactionHash"],
        log_index=int(log["logIndex"], 16),
        removed=False,
        stamped=True,
    )
    ours = orjson.loads(written)
    own = {"blockNumber", "transactionIndex"}  # the sandbox counts its own blocks
    assert {key: value for key, value in ours.items() if key not in own} == {
        key: value for key, value in log.items() if key not in own
    }
    assert list(ours) == list(log)
    assert block_second(int(ours["blockNumber"], 16)) == int(log["blockTimestamp"], 16)


@recorded
def test_topics_of_a_taker_name_the_exchange() -> None:
    log = order_filled("SELL_LOG")["log"]
    wallet = order_filled("SELL_LOG")["expected"]["data_api"]["proxyWallet"]
    assert log["topics"][2] == address_topic(wallet)
    assert log["topics"][3] == address_topic(log["address"])


@pytest.mark.parametrize(
    ("size", "price", "cash", "fee"),
    [
        ("22.84", "0.52", "12.16184", 285_040),  # the row of the reference sheet
        ("14.285715", "0.9300000035", "13.285715", 0),
        ("300000", "0.4473571475", "137915.5752", 3_708_431_000 // 10 * 10),
        ("10", "0.5", "5.00001", 0),  # within the tolerance
        ("10", "0.5", "5.00002", 20),
    ],
)
def test_fee_is_what_the_cash_differs_by(size: str, price: str, cash: str, fee: int) -> None:
    assert abs(fee_micros(Decimal(size), Decimal(price), micros(Decimal(cash))) - fee) <= 50
    assert fee_micros(Decimal(size), Decimal(price), micros(Decimal(cash))) % 10 == 0


@recorded
def test_the_fees_recorded_on_chain_come_back_from_the_cash() -> None:
    for case in json.loads((PAYLOADS / "onchain" / "taker_fees_21.json").read_text()):
        maker, taker, fee = (int(case[key]) for key in ("maker_amount_filled", "taker_amount_filled", "fee"))
        notional, shares = (maker, taker) if case["side"] == "BUY" else (taker, maker)
        cash = notional + fee if case["side"] == "BUY" else notional - fee
        price = (Decimal(notional) / shares).quantize(Decimal("1e-10"))
        assert fee_micros(Decimal(shares) / 1_000_000, price, cash) == fee
