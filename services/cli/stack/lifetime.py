"""The life of one stack: up, wait, and down whatever happened.

Order: supervisor with the databases -> schema and roles -> services -> follow -> config -> play -> wait -> stop.
"""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

from services.cli.errors import StackError
from services.cli.stack import errands, leftovers, postgres
from services.cli.stack.apart import Errand
from services.cli.stack.assembly import Assembly
from services.cli.stack.interrupts import Interrupts, StopRequested
from services.cli.stack.programs import SANDBOX
from services.cli.stack.readiness import ask, wait_ready
from services.cli.stack.supervisor import Supervisor
from services.cli.stack.visit import stack_signs

STOP_SECONDS = 40.0
STOP_INTERVAL_SECONDS = 0.05
HURRY_GRACE_SECONDS = 5.0
WATCH_INTERVAL_SECONDS = 0.5
RECOVERIES_MAX = 20
PLAY_TIMEOUT_SECONDS = 20.0
EXIT_DEAD_LETTERS = 3


class Stack:
    """A stack of this process: its supervisor, and the way up and down."""

    def __init__(self, assembly: Assembly, interrupts: Interrupts) -> None:
        self._all = assembly
        self._interrupts = interrupts
        self._supervisor = Supervisor(assembly.data_dir, assembly.memory.stack_id)
        self._errands: list[Errand] = []

    def run(self, *, config: Path | None, exit_when_drained: bool) -> int:
        """Bring the stack up, wait, and take it down whatever happened."""
        try:
            self._start(config)
            self._play()
            self._announce()
            return self._watch(drain=exit_when_drained)
        except StopRequested:
            return 0
        finally:
            self._interrupts.only_count()
            self._stop()

    def _start(self, config: Path | None) -> None:
        started = time.monotonic()
        say(f"Starting {self._all.market.describe()}; data in {self._all.data_dir.root}")
        self._all.write()
        self._supervisor.start()
        preparation = self._start_databases()
        preparation.result()
        self._set_up(config)
        say(f"  databases ready after {time.monotonic() - started:.1f} s")
        for program in self._all.plan.services:
            self._supervisor.start_program(program.name)
        wait_ready(
            self._all.data_dir,
            {program.name: self._all.plan.ports[program.name] for program in self._all.plan.services},
        )
        say(f"  services ready after {time.monotonic() - started:.1f} s")

    def _start_databases(self) -> Errand:
        """Start what needs no database, and the databases; the schema's child imports while the cluster is made."""
        where, ports, passwords = self._all.where, self._all.plan.ports, self._all.secrets["postgres"]
        place = self._all.place if where.embedded_postgres else None
        services = {name: password for name, password in passwords.items() if name != "operator"}
        arguments = (place, ports["postgres"], passwords["operator"], where.database_urls["operator"], services)
        preparation = self._errand(errands.prepare_database, *arguments)
        rules = self._errand(errands.bus_rules)
        if place is not None:
            postgres.ensure_cluster(place, passwords["operator"])
        if where.embedded_valkey:
            self._all.write_bus(rules.result())
        self._supervisor.wait_answering()
        for program in self._all.plan.programs:
            if program is SANDBOX or program not in self._all.plan.services:
                self._supervisor.start_program(program.name)
        return preparation

    def _set_up(self, config: Path | None) -> None:
        """Follow whom the market names and apply the config, once a data directory and before any service looks.

        A portfolio opens with its bankroll, so the config must be there before the ledger is.
        """
        urls = (self._all.where.database_urls["operator"], self._all.where.redis_urls["operator"])
        first = not self._all.memory.is_set_going
        files = [config] if config is not None else []
        if first and not self._all.plan.live:
            wallets = [(entry["label"], entry["wallet"]) for entry in self._sandbox("status")["wallets"]]
            self._errand(errands.follow_wallets, urls[0], wallets).result()
            if self._all.market.tape is not None:
                files.insert(0, Path(self._all.market.tape) / "tape.json")  # a tape may bring its own config
        if files:
            self._errand(errands.apply_config, *urls, files).result()
        self._all.memory.remember(set_going=True)

    def _play(self) -> None:
        """Start the clock of the sandbox once ingest listens: its first fills then find a listener."""
        if self._all.plan.live:
            return
        self._errand(errands.wait_first_polls, self._all.where.database_urls["operator"]).result()
        _next_second()  # the wire floors times to seconds: no fill may look older than the follow
        self._sandbox("play", post=True)

    def _sandbox(self, what: str, *, post: bool = False) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._all.plan.ports['sandbox']}/_sandbox/{what}"
        deadline = time.monotonic() + PLAY_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            status, body = ask(url, post=post)
            if status == 200:
                return body
            time.sleep(STOP_INTERVAL_SECONDS)
        raise StackError(f"the sandbox did not answer {url}: see {self._all.data_dir.log('sandbox')}")

    def _announce(self) -> None:
        link = self._errand(
            errands.login_link, self._all.where.database_urls["operator"], self._all.dashboard_url
        ).result()
        say(f"\n  Dashboard   {link}\n              (works once, for 10 minutes; `shadowbook login` prints a new link)")
        source = "polymarket" if self._all.plan.live else "sandbox"
        flow = " -> ".join([source, "ingest", "grouper", "simulator (user, global)", "ledger"])
        bases = " + ".join(
            ["postgres"] * self._all.plan.embedded_postgres + ["valkey"] * self._all.plan.embedded_valkey
        )
        say(f"  Runs        {flow}; pricer marks, ui shows{', on ' + bases if bases else ''}")
        say("  Ctrl-C stops all of it; started again it goes on where it was.\n")

    def _watch(self, *, drain: bool) -> int:
        """Wait for the end; a supervisor that was killed is replaced."""
        draining = self._errand(errands.wait_drained, *self._drain_arguments()) if drain else None
        recoveries = 0
        while draining is None or not draining.is_done():
            time.sleep(WATCH_INTERVAL_SECONDS)
            if not self._supervisor.is_alive():
                recoveries += 1
                if recoveries > RECOVERIES_MAX:
                    raise StackError(
                        f"the supervisor died {recoveries} times: see {self._all.data_dir.log('supervisord')}"
                    )
                self._recover()
        dead_letters: int = draining.result()
        say(
            "Drained: everything seen is grouped, decided, posted and marked."
            + (f" Open dead letters: {dead_letters}." if dead_letters else "")
        )
        return EXIT_DEAD_LETTERS if dead_letters else 0

    def _drain_arguments(self) -> tuple[str, str, int]:
        urls = self._all.where
        return urls.database_urls["operator"], urls.redis_urls["operator"], self._all.plan.ports["sandbox"]

    def _recover(self) -> None:
        say("The supervisor was killed: ending what it left and starting again.")
        leftovers.end(self._processes(), grace_seconds=HURRY_GRACE_SECONDS)
        self._supervisor.start()
        self._supervisor.wait_answering()
        for program in self._all.plan.programs:
            self._supervisor.start_program(program.name)

    def _stop(self) -> None:
        """Stop services, then databases, then the supervisor; a second signal stops waiting for any of them."""
        say("Stopping ...")
        for errand in self._errands:
            errand.cancel()
        with contextlib.suppress(Exception):  # whatever goes wrong here, the processes are ended below
            self._stop_in_order()
        processes = self._processes()
        leftovers.end(processes, grace_seconds=HURRY_GRACE_SECONDS, hurry=self._interrupts.hurried)
        self._supervisor.wait_ended(HURRY_GRACE_SECONDS)
        self._supervisor.clear_socket()
        say("Stopped.")

    def _stop_in_order(self) -> None:
        services = {program.name for program in self._all.plan.services}
        databases = {program.name for program in self._all.plan.programs} - services
        deadline = time.monotonic() + STOP_SECONDS
        for names in (services, databases):
            for name in names:
                self._supervisor.stop_program(name)
            while self._supervisor.running_programs() & names and time.monotonic() < deadline:
                if self._interrupts.hurried:
                    return
                time.sleep(STOP_INTERVAL_SECONDS)
        self._supervisor.shut_down()
        self._supervisor.wait_ended(HURRY_GRACE_SECONDS)

    def _processes(self) -> list[Any]:
        return leftovers.processes_of(self._all.memory.stack_id, stack_signs(self._all.data_dir, self._all.place))

    def _errand(self, function: Any, *arguments: Any) -> Errand:
        errand = Errand(function, *arguments)
        self._errands.append(errand)
        return errand


def say(text: str) -> None:
    """Print a line for the person at the terminal, at once."""
    with contextlib.suppress(OSError):  # a closed terminal is no reason to leave processes behind
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _next_second() -> None:
    """Return in the next whole second of the wall clock."""
    time.sleep(1.0 - time.time() % 1.0)
