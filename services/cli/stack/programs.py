"""Which programs a stack runs: the one table, in flow order, and the environment each of them gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LIVE_URLS: Final = {
    "SHADOWBOOK_DATA_API_URL": "https://data-api.polymarket.com",
    "SHADOWBOOK_CLOB_URL": "https://clob.polymarket.com",
    "SHADOWBOOK_GAMMA_URL": "https://gamma-api.polymarket.com",
}


@dataclass(frozen=True, slots=True)
class Program:
    """One process under the supervisor; `service` names its module, its Postgres role and its user on the bus."""

    name: str
    service: str
    template: str
    does: str
    upstream: bool = False  # speaks to the exchange, so it is told where that is
    scope: str | None = None


POSTGRES: Final = Program("postgres", "postgres", "01-postgres.conf", "the truth")
VALKEY: Final = Program("valkey", "valkey", "02-valkey.conf", "the bus")
SANDBOX: Final = Program("sandbox", "sandbox", "05-sandbox.conf", "a local Polymarket")
UI: Final = Program("ui", "ui", "60-ui.conf", "dashboard and REST")

SERVICES: Final = (
    Program("ingest", "ingest", "10-ingest.conf", "fills and activity in", upstream=True),
    Program("grouper", "grouper", "20-grouper.conf", "2 s windows"),
    Program("simulator-user", "simulator", "30-simulator.conf", "copies per user", upstream=True, scope="EXEC_USER"),
    Program("simulator-global", "simulator", "30-simulator.conf", "copies all", upstream=True, scope="EXEC_GLOBAL"),
    Program("ledger", "ledger", "40-ledger.conf", "entries and positions"),
    Program("pricer", "pricer", "50-pricer.conf", "marks and payouts", upstream=True),
    UI,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before the first process starts."""

    ports: Mapping[str, int]
    database_urls: Mapping[str, str]  # by service, and `operator`
    redis_urls: Mapping[str, str]
    embedded_postgres: bool
    embedded_valkey: bool
    live: bool
    rpc_ws_url: str | None
    ingest: Mapping[str, str]  # what the operator says of the node
    sandbox: Mapping[str, str]  # the sandbox's own variables
    ui: Mapping[str, str]  # the dashboard's own variables
    log_format: str
    log_level: str

    @property
    def programs(self) -> tuple[Program, ...]:
        """The programs of this stack in flow order."""
        databases = [POSTGRES] * self.embedded_postgres + [VALKEY] * self.embedded_valkey
        return (*databases, *self.services)

    @property
    def services(self) -> tuple[Program, ...]:
        """The programs that speak /health."""
        return (*([] if self.live else [SANDBOX]), *SERVICES)


def port_names(plan_live: bool) -> list[str]:
    """Return the names under which ports are remembered."""
    names = ["postgres", "valkey", "dashboard", *(program.name for program in SERVICES)]
    return names if plan_live else [*names, "sandbox"]


def environment(program: Program, plan: Plan) -> dict[str, str]:
    """Return the variables of one service: its own connections and settings, nothing else."""
    if program.service == "postgres":
        return {"LC_ALL": "C", "TZ": "UTC"}
    if program.service == "valkey":
        return {}
    values = {"SHADOWBOOK_HTTP_PORT": str(plan.ports[program.name]), "SHADOWBOOK_LOG_FORMAT": plan.log_format}
    values |= {"SHADOWBOOK_LOG_LEVEL": plan.log_level, "SHADOWBOOK_INSTANCE": f"{program.name}-0"}
    if program is SANDBOX:
        return values | dict(plan.sandbox)
    values |= {"DATABASE_URL": plan.database_urls[program.service], "REDIS_URL": plan.redis_urls[program.service]}
    if program.upstream:
        values |= _upstream(plan)
    if program.scope is not None:
        values["SHADOWBOOK_SCOPE"] = program.scope
    if program.service == "ingest":
        values |= dict(plan.ingest)
    if program is UI:
        values |= dict(plan.ui)
    return values


def _upstream(plan: Plan) -> dict[str, str]:
    if plan.live:
        return LIVE_URLS | ({"SHADOWBOOK_RPC_WS_URL": plan.rpc_ws_url} if plan.rpc_ws_url else {})
    return sandbox_urls(plan.ports["sandbox"])


def sandbox_urls(port: int) -> dict[str, str]:
    """Return where a sandbox on this machine answers, by variable."""
    address = f"127.0.0.1:{port}"
    return {
        "SHADOWBOOK_DATA_API_URL": f"http://{address}/data",
        "SHADOWBOOK_CLOB_URL": f"http://{address}/clob",
        "SHADOWBOOK_GAMMA_URL": f"http://{address}/gamma",
        "SHADOWBOOK_RPC_WS_URL": f"ws://{address}/rpc",
    }


def repository_root() -> Path:
    """Return the directory that holds `services` and `deploy`."""
    return Path(__file__).resolve().parents[3]
