"""Rules of shape that a machine keeps: sizes of modules and functions, pure cores, SQL where it belongs."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 60
IMPURE = {"asyncio", "redis", "sqlalchemy", "sqlmodel", "asyncpg", "httpx", "os", "time", "random", "secrets", "socket"}
BUS_PARTS = {"faststream", "redis"}


def modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "versions" not in path.parts:
                yield path


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_modules_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules("libs", "services")
        if (lines := len(path.read_text().splitlines())) > MODULE_LINES_MAX
    }
    assert long == {}


def test_functions_are_short() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in modules("libs", "services")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    }
    assert long == {}


def is_core(path: Path) -> bool:
    return "domain" in path.parts or "core" in path.parts or path.name == "core.py"


def test_cores_do_no_io_and_read_no_clock() -> None:
    impure = {
        str(path.relative_to(ROOT)): found
        for path in modules("libs", "services")
        if is_core(path) and (found := imports(path) & IMPURE)
    }
    assert impure == {}


def test_cores_are_synchronous() -> None:
    coroutines = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in modules("libs", "services")
        if is_core(path)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert coroutines == []


def test_redis_is_known_to_the_bus_alone() -> None:
    knowing = [
        str(path.relative_to(ROOT))
        for path in modules("libs", "services")
        if imports(path) & BUS_PARTS and not path.is_relative_to(ROOT / "libs/common/bus")
    ]
    assert knowing == []


def test_sql_is_written_only_in_stores_and_queries() -> None:
    def may(path: Path) -> bool:
        if path.is_relative_to(ROOT / "libs/common/db") or path.name == "store.py":
            return True
        return "queries" in path.parts or "store" in path.parts

    speaking = [
        str(path.relative_to(ROOT))
        for path in modules("libs", "services")
        if not may(path) and imports(path) & {"sqlalchemy", "asyncpg"} and "text(" in path.read_text()
    ]
    assert speaking == []


def test_every_service_has_a_sign_on_its_door() -> None:
    for door in sorted((ROOT / "services").glob("*/__init__.py")):
        if door.parent.name == "cli":
            continue
        sign = ast.get_docstring(ast.parse(door.read_text())) or ""
        assert all(word in sign for word in ("In:", "Decides:", "Out:", "Owns:", "Never:")), door
