"""From a data directory to a plan: ports, places, addresses, configuration files. Nothing runs yet."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.cli.stack import endpoints as addresses
from services.cli.stack import postgres, valkey
from services.cli.stack.data_dir import DataDir, Memory
from services.cli.stack.endpoints import Endpoints
from services.cli.stack.market import Market
from services.cli.stack.places import PostgresPlace
from services.cli.stack.ports import check_requested, claim, free_port
from services.cli.stack.programs import POSTGRES, VALKEY, Plan, environment, port_names
from services.cli.stack.supervisor import Launch, write_configuration

RPC_VARIABLE, PUBLIC_URL_VARIABLE = "SHADOWBOOK_RPC_WS_URL", "PUBLIC_URL"
NODE_VARIABLES = ("SHADOWBOOK_LOG_RANGE_BLOCKS", "SHADOWBOOK_HEAL_BLOCKS_MAX")
"""What a node's plan allows, which ingest is told."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """All that is known about a stack before it starts."""

    data_dir: DataDir
    memory: Memory
    secrets: Mapping[str, Any]
    market: Market
    where: Endpoints
    place: PostgresPlace
    plan: Plan

    @property
    def dashboard_url(self) -> str:
        """Where the dashboard answers."""
        return dashboard_url(self.memory)

    def write(self) -> None:
        """Write the configuration of every program."""
        launches = []
        for program in self.plan.programs:
            command, user = None, None
            if program is POSTGRES:
                command = postgres.command(self.place, self.plan.ports["postgres"])
                user = self.place.account.name if self.place.account else None
            elif program is VALKEY:
                command = valkey.command(self._valkey)
            launches.append(Launch(program, command, user, environment(program, self.plan)))
        write_configuration(self.data_dir, self.memory.stack_id, launches)

    def write_bus(self, rules: Mapping[str, str]) -> None:
        """Write the configuration and the users of the embedded Valkey."""
        valkey.configure(self._valkey, self.plan.ports["valkey"], self.secrets["redis"], rules)

    @property
    def _valkey(self) -> valkey.ValkeyPlace:
        return valkey.ValkeyPlace(self.data_dir.root / "valkey")


def assemble(
    data_dir: DataDir,
    memory: Memory,
    secrets: Mapping[str, Any],
    market: Market,
    place: PostgresPlace,
    faults: Path | None,
) -> Assembly:
    """Return the plan of a stack whose ports have been chosen."""
    where = addresses.endpoints(memory.ports, secrets)
    plan = Plan(
        ports=memory.ports,
        database_urls=where.database_urls,
        redis_urls=where.redis_urls,
        embedded_postgres=where.embedded_postgres,
        embedded_valkey=where.embedded_valkey,
        live=market.kind == "live",
        rpc_ws_url=os.environ.get(RPC_VARIABLE),
        ingest={name: os.environ[name] for name in NODE_VARIABLES if name in os.environ},
        sandbox=_sandbox_variables(data_dir, market, faults),
        ui=_ui_variables(data_dir, memory, secrets),
        log_format="json",
        log_level="INFO",
    )
    return Assembly(data_dir, memory, secrets, market, where, place, plan)


def choose_ports(memory: Memory, *, live: bool, requested: int | None) -> None:
    """Remember a free port for every program; one that somebody took since is replaced, a requested one is a must."""
    ports = memory.ports
    if requested is not None:
        check_requested(requested)
        ports["dashboard"] = requested
    for name in port_names(live):
        if name == "dashboard" and requested is not None:
            continue
        if name not in ports or not claim(ports[name]):
            ports[name] = free_port(ports.values())
    memory.remember(ports=ports)


def dashboard_url(memory: Memory) -> str:
    """Return where the dashboard of a stack answers."""
    return f"http://127.0.0.1:{memory.ports['dashboard']}"


def _sandbox_variables(data_dir: DataDir, market: Market, faults: Path | None) -> dict[str, str]:
    state = data_dir.root / "sandbox"
    state.mkdir(mode=0o750, exist_ok=True)
    values = {
        "SHADOWBOOK_STATE_DIR": str(state),
        "SHADOWBOOK_SPEED": f"{market.speed:g}",
        "SHADOWBOOK_SEED": str(market.seed),
    }
    if market.tape is not None:
        values["SHADOWBOOK_TAPE"] = market.tape
    if faults is not None:
        values["SHADOWBOOK_FAULTS"] = str(faults)
    return values


def _ui_variables(data_dir: DataDir, memory: Memory, secrets: Mapping[str, Any]) -> dict[str, str]:
    values = {
        "SHADOWBOOK_PORT": str(memory.ports["dashboard"]),
        "SHADOWBOOK_STORAGE_SECRET": secrets["ui"]["storage"],
        "NICEGUI_STORAGE_PATH": str(data_dir.root / "ui"),  # its own default is a folder in the checkout
    }
    public_url = os.environ.get(PUBLIC_URL_VARIABLE)
    return values | ({PUBLIC_URL_VARIABLE: public_url} if public_url else {})
