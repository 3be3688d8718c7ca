"""What runs: every program of the supervisor, the supervisor, and `up` itself, with their memory."""

import contextlib
import http.client
import time
import xmlrpc.client
from typing import Any

import psutil

from services.cli.stack.data_dir import DataDir, Memory, holder
from services.cli.stack.programs import POSTGRES, SANDBOX, SERVICES, VALKEY
from services.cli.stack.supervisor import Supervisor
from services.cli.stack.visit import UP

_SERVICE_OF = {program.name: program.service for program in (POSTGRES, VALKEY, SANDBOX, *SERVICES)}


def processes(data_dir: DataDir, memory: Memory) -> list[dict[str, Any]]:
    """Return one row a process: name, service, pid, state, uptime_s, pss_bytes; empty when the stack is down."""
    supervisor = Supervisor(data_dir, memory.stack_id)
    try:
        programs, supervisor_pid = supervisor.programs(), supervisor.pid()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return []
    rows = [
        {
            "name": info["name"],
            "service": _SERVICE_OF.get(info["name"], info["name"]),
            "pid": info["pid"],
            "state": info["statename"],
            "uptime_s": max(0, info["now"] - info["start"]) if info["pid"] else 0,
            "pss_bytes": _pss_of_family(info["pid"]),
        }
        for info in programs
    ]
    order = list(_SERVICE_OF)
    rows.sort(key=lambda row: order.index(row["name"]) if row["name"] in order else len(order))
    rows.append(_own("supervisor", supervisor_pid))
    held_by = holder(data_dir)
    if held_by is not None and held_by["command"] == UP:
        rows.append(_own(UP, held_by["pid"]))
    return rows


def _own(name: str, pid: int) -> dict[str, Any]:
    uptime_s, pss_bytes = 0, 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        uptime_s, pss_bytes = int(time.time() - process.create_time()), _pss(process)
    return {"name": name, "service": name, "pid": pid, "state": "RUNNING", "uptime_s": uptime_s, "pss_bytes": pss_bytes}


def _pss_of_family(pid: int) -> int:
    """Return the memory of a program and of what it started, shared pages divided among those who share them."""
    if not pid:
        return 0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_pss(member) for member in family)


def _pss(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except (psutil.Error, OSError):
        return 0
    return int(getattr(memory, "pss", 0) or memory.rss)
