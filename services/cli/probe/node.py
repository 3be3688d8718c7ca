"""The chain node: one connection, each call once."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from libs.common.domain.errors import Rejected, ShadowbookError
from libs.common.upstream.chain import (
    EXCHANGES,
    ORDER_FILLED,
    ChainFill,
    block_seconds,
    decode_order_filled,
    log_filter,
    quantity,
)
from libs.common.upstream.fields import an_object
from libs.common.upstream.json_rpc import RpcConnection, open_rpc
from services.cli.probe.known import BLOCK, LOG
from services.cli.probe.report import Check, Report

POLYGON: Final = 137
RANGE_BLOCKS: Final = 10
WALLETS: Final = 200
THIRD_ADDRESS: Final = "0xe2222d002000ba0053cef3375333610f64600036"
BEHIND_SECONDS_MAX: Final = 60
AHEAD_SECONDS_MAX: Final = 5


@dataclass(slots=True)
class NodeFacts:
    """What the node told: fills of the last blocks, and answers to open points."""

    fills: list[ChainFill] = field(default_factory=list)
    filter_answer: str | None = None
    third_answer: str | None = None


async def ask_node(url: str | None, report: Report) -> NodeFacts:
    """Ask the node at `url`; without one there is a warning, for fills are then found by polling alone."""
    facts = NodeFacts()
    if url is None:
        report.warnings.append(
            "no node: SHADOWBOOK_RPC_WS_URL is not set, so fills are found by polling alone, seconds later"
        )
        return facts
    check = Check("rpc", "connect", needed=True, detail="connects")
    report.checks.append(check)
    started = time.monotonic()
    try:
        connection = await open_rpc(url)
    except ShadowbookError as error:
        check.fail(f"{error}: is the URL right, is the key valid? Unset it to go without a node")
        return facts
    check.latency_ms = round((time.monotonic() - started) * 1000)
    try:
        await _Node(connection, report, facts).ask_all()
    finally:
        await connection.close()
    return facts


class _Node:
    def __init__(self, connection: RpcConnection, report: Report, facts: NodeFacts) -> None:
        self._connection, self._report, self._facts = connection, report, facts

    async def ask_all(self) -> None:
        await self._chain()
        head = await self._head()
        await self._subscribe()
        if head is None:
            return
        stamped = await self._logs(head)
        await self._block(needed=not stamped)
        await self._third(head)

    async def _call(self, method: str, params: Sequence[Any], check: Check) -> Any:
        """Return the result; a refusal or silence fails the check and gives None."""
        started = time.monotonic()
        try:
            result = await self._connection.call(method, params)
        except ShadowbookError as error:
            check.fail(f"refused: {error}" if isinstance(error, Rejected) else str(error))
            return None
        finally:
            check.latency_ms = round((time.monotonic() - started) * 1000)
        return result

    def _check(self, endpoint: str, *, needed: bool = True) -> Check:
        check = Check("rpc", endpoint, needed)
        self._report.checks.append(check)
        return check

    async def _number(self, method: str) -> tuple[Check, int | None]:
        check = self._check(method)
        result = await self._call(method, [], check)
        if check.state == "ok":
            try:
                return check, quantity(result, what=f"`{method}`")
            except ValueError as error:
                check.fail(str(error))
        return check, None

    async def _chain(self) -> None:
        check, number = await self._number("eth_chainId")
        if number not in (None, POLYGON):
            check.fail(f"expected `eth_chainId` {POLYGON} (Polygon), got {number}: this node serves another chain")

    async def _head(self) -> int | None:
        check, number = await self._number("eth_blockNumber")
        if number is not None:
            check.detail = f"block {number}"
        return number

    async def _subscribe(self) -> None:
        made_up = [f"0x{number:040x}" for number in range(1, WALLETS + 1)]
        check = self._check("eth_subscribe logs")
        result = await self._call("eth_subscribe", ["logs", log_filter(made_up)], check)
        if check.state != "ok":
            self._facts.filter_answer = f"{WALLETS} wallets in one filter are refused ({check.detail[:120]})"
            one = await self._call("eth_subscribe", ["logs", log_filter(made_up[:1])], Check("rpc", "", needed=True))
            if isinstance(one, str):
                check.state, check.detail = "warning", f"one wallet is accepted, {WALLETS} are not: {check.detail}"
            return
        if not isinstance(result, str) or not result:
            check.fail(f"expected `result` the id of a subscription, got {result!r:.40}")
            return
        self._facts.filter_answer = f"{WALLETS} wallets in one filter are accepted"
        check.detail = f"{WALLETS} wallets in one filter"
        await self._call("eth_unsubscribe", [result], Check("rpc", "", needed=False))

    async def _logs(self, head: int) -> bool:
        """Ask for every fill of the last blocks; returns whether logs carry their block's time."""
        check = self._check(f"eth_getLogs {RANGE_BLOCKS} blocks")
        wanted = {"address": list(EXCHANGES), "topics": [ORDER_FILLED]}
        logs = await self._call("eth_getLogs", [{**wanted, **_last_blocks(head)}], check)
        if check.state != "ok":
            check.state = "warning"  # gaps are then closed by polling
            check.detail = f"{check.detail}; lower SHADOWBOOK_LOG_RANGE_BLOCKS of ingest"
            return False
        if not isinstance(logs, list):
            check.fail(f"expected `result` a list of logs, got {type(logs).__name__}")
            return False
        self._facts.fills = check.judge(logs, decode_order_filled, LOG)
        stamped = any(fill.timestamp is not None for fill in self._facts.fills)
        if self._facts.fills and check.state == "ok":
            check.detail = f"`blockTimestamp` is {'there' if stamped else 'absent: each block is asked for its time'}"
        return stamped

    async def _block(self, *, needed: bool) -> None:
        check = self._check("eth_getBlockByNumber", needed=needed)
        block = await self._call("eth_getBlockByNumber", ["latest", False], check)
        if check.state != "ok":
            return
        times = check.judge([block], _block_time, BLOCK)
        if not times:
            return
        age = datetime.now(UTC).timestamp() - times[0]
        check.detail = f"the latest is {age:.0f} s old"
        if age > BEHIND_SECONDS_MAX or age < -AHEAD_SECONDS_MAX:
            self._report.warnings.append(
                f"the node's latest block is {age:.0f} s old: the node is behind, or this machine's clock is wrong"
            )

    async def _third(self, head: int) -> None:
        unlisted = Check("rpc", "eth_getLogs", needed=False)
        wanted = {"address": [THIRD_ADDRESS], "topics": [ORDER_FILLED]}
        logs = await self._call("eth_getLogs", [{**wanted, **_last_blocks(head)}], unlisted)
        if isinstance(logs, list):
            there = f"{len(logs)} OrderFilled in {RANGE_BLOCKS} blocks"
            self._facts.third_answer = f"{there}: {'an exchange; we do not read it' if logs else 'no exchange at work'}"


def _last_blocks(head: int) -> dict[str, str]:
    return {"fromBlock": hex(max(0, head - RANGE_BLOCKS + 1)), "toBlock": hex(head)}


def _block_time(block: object) -> int:
    wire: Mapping[str, Any] = an_object(block, "block")
    return block_seconds(wire.get("timestamp"))
