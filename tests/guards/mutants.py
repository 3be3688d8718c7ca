"""What can be done to a guard: found in the syntax tree of the core, so that nothing has to be listed by hand."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from libs.common.domain.config import CopyConfig
from services.simulator.core.rules import Rules, compile_rules

CORE: Final = "services.simulator.core"
JUDGED: Final[dict[str, frozenset[str] | None]] = {
    "decide": None, "guardrails": None, "sizing": None, "walk": None, "fees": None, "rules": None,
    "schedule": frozenset({"own_due", "is_history", "needs_book"}),
    "portfolio": frozenset({f"PortfolioState.{name}" for name in ("view", "take", "decided", "apply")}),
    "libs.common.domain.statistics": frozenset({"equity", "loss_since", "peak_with", "drawdown"}),
}  # fmt: skip
"""Modules of the core, others by their full name, and which of their functions are judged; None: all of them."""
CHECK_NAME: Final = re.compile(r"(control|market|breakers|size|risk|book)\.[a-z_]+")
CHECK_PARTS: Final = 5
"""A check is a tuple of name, verdict, value, bound and reason."""
ORDERINGS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
}  # fmt: skip
UNITS: Final = frozenset({"MICROS", "PER_CENT"})
"""Constants that say in what something is measured."""
RATIO_METHODS: Final = frozenset({"is_exceeded", "floor_of"})
NEVER_FAIL: Final = frozenset({"size.proportion", "risk.caps"})
"""Checks that only show numbers."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class NoSuchCodeError(LookupError):
    """What was to be mutated is not where its name says."""


@dataclass(frozen=True)
class Mutant:
    """One change to one place. `kind`: removed, strict, looser, tighter, or what else was done."""

    kind: str
    place: str
    """Module and function, or what it is about."""
    before: str
    after: str

    @property
    def name(self) -> str:
        """Return what identifies the mutant as long as the code it changes stays."""
        return f"{self.place}: {self.before}  ->  {self.after}"

    def apply(self) -> None:
        """Change the running program for good; meant for a process that ends soon."""
        raise NotImplementedError


@dataclass(frozen=True)
class Edited(Mutant):
    """A node of a function's tree is replaced by another."""

    module: str
    tree: ast.Module
    function: str
    owner: ast.AST
    field: str
    index: int | None
    node: ast.AST

    def apply(self) -> None:
        """Put the node in its place and let the live function run the new code."""
        if self.index is None:
            setattr(self.owner, self.field, self.node)
        else:
            getattr(self.owner, self.field)[self.index] = self.node
        recompile(self.module, self.tree, {self.function})


@dataclass(frozen=True)
class Removed(Mutant):
    """The check of a name passes whatever it finds."""

    def apply(self) -> None:
        """Let every check that is made anywhere pass through a filter for the name."""
        for module in JUDGED:
            tree = tree_of(module)
            recompile(module, _Filter(self.place).visit(tree), {name for name, _ in functions(tree)})


@dataclass(frozen=True)
class Shifted(Mutant):
    """A default of the configuration is another."""

    field: str
    value: object

    def apply(self) -> None:
        """Replace the default in the schema."""
        CopyConfig.model_fields[self.field].default = self.value
        CopyConfig.model_rebuild(force=True)


def all_mutants() -> Iterator[Mutant]:
    """Yield every mutant of the core, then of the configuration's defaults."""
    yield from (Removed("removed", name, "as it is", "always passes") for name in sorted(check_names() - NEVER_FAIL))
    for module, judged in JUDGED.items():
        tree = tree_of(module)
        found = [(name, node) for name, node in functions(tree) if judged is None or name in judged]
        if judged is not None and {name for name, _ in found} != judged:
            raise NoSuchCodeError(
                f"{module}: expected the functions {sorted(judged)}, found {[name for name, _ in found]}"
            )
        for name, function in found:
            yield from _of_function(module, tree, name, function)
    for field, info in CopyConfig.model_fields.items():
        for kind, by in (("looser", 1), ("tighter", -1)):
            if isinstance(info.default, int) or hasattr(info.default, "as_tuple"):
                yield Shifted(
                    kind, "CopyConfig", f"{field} = {info.default}", f"{by:+}", field, shift(info.default, by)
                )


def check_names() -> set[str]:
    """Return the names of checks that the core's source mentions."""
    return {
        node.value
        for module in JUDGED
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CHECK_NAME.fullmatch(node.value)
    }


def functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Yield the outermost functions and methods with their qualified names."""
    for node in tree.body:
        if isinstance(node, Function):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{each.name}", each) for each in node.body if isinstance(each, Function))


def tree_of(module: str) -> ast.Module:
    """Return a fresh syntax tree of a module of the core."""
    path = live(module).__file__
    if path is None:
        raise NoSuchCodeError(f"{module} has no source")
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def live(module: str) -> ModuleType:
    """Return the running module."""
    return import_module(module if "." in module else f"{CORE}.{module}")


def _of_function(module: str, tree: ast.Module, name: str, function: Function) -> Iterator[Mutant]:
    seen: dict[str, int] = {}
    for owner, field, index, node in _places(function):
        for kind, new in _variants(node, owner, module):
            before, after = _shown(kind, node), _shown(kind, new)
            count = seen[before + after] = seen.get(before + after, 0) + 1
            again = f" (no. {count})" if count > 1 else ""
            yield Edited(kind, f"{module}.{name}", before, after + again, module, tree, name, owner, field, index, new)


def _shown(kind: str, node: ast.AST) -> str:
    """Return the node's text, of a branch only what it asks."""
    if kind != "branch":
        return _text(node)
    tests = getattr(node, "ifs", None) or [getattr(node, "test", ast.Constant(True))]
    return f"if {_text(tests[0])}"


def _text(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node))


def _places(root: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Yield each node below `root` with where it hangs; annotations and docstrings are left out."""
    for field, value in ast.iter_fields(root):
        if field in {"annotation", "returns", "decorator_list", "args"} and not isinstance(root, ast.Call):
            continue
        each = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, node in each:
            if isinstance(node, ast.AST) and not _is_claim(node):
                yield root, field, index, node
                yield from _places(node)


def _is_claim(node: ast.AST) -> bool:
    """Tell whether a statement only raises AssertionError: it says what cannot be."""
    return isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise) and "AssertionError" in _text(node.body[0])


def _variants(node: ast.AST, owner: ast.AST, module: str) -> Iterator[tuple[str, ast.AST]]:
    """Yield what the node could wrongly be."""
    match node:
        case ast.Compare():
            yield from _compared(node)
        case ast.BoolOp(op, values):
            yield from (("condition", _only_or(rest, ast.BoolOp(op, rest))) for rest in _less_one(values))
        case ast.Call():
            yield from _called(node)
        case ast.UnaryOp(ast.USub(), ast.BinOp(ast.UnaryOp(ast.USub(), left), ast.FloorDiv(), right)):
            yield "rounding", ast.BinOp(left, ast.FloorDiv(), right)
        case ast.BinOp():
            yield from _computed(node, owner)
        case ast.AugAssign(target, ast.Add(), value):
            yield "sign", ast.AugAssign(target, ast.Sub(), value)
        case ast.Name(name) if name.isupper() and name not in UNITS and isinstance(vars(live(module)).get(name), int):
            yield from (("constant", _shift(node, by)) for by in (1, -1))
        case ast.keyword(str(arg)) if isinstance(owner, ast.Call) and _text(owner.func) == Rules.__name__:
            yield "setting", ast.keyword(arg, ast.Call(ast.Name("__default__", ast.Load()), [ast.Constant(arg)], []))
        case ast.If() | ast.IfExp():
            yield from (("branch", _with(node, "test", ast.Constant(verdict))) for verdict in (True, False))
        case ast.comprehension(ifs=[_, *_]):
            yield "branch", _with(node, "ifs", [])


def _less_one(values: list[ast.expr]) -> Iterator[list[ast.expr]]:
    """Yield `values` without one of them, each in turn."""
    return ([each for each in values if each is not left_out] for left_out in values)


def _only_or(values: list[ast.expr], several: ast.expr) -> ast.expr:
    return values[0] if len(values) == 1 else several


def _called(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Call(ast.Name("min" | "max"), [_, _, *_] as args, []):
            yield from (("cap", _only_or(rest, ast.Call(node.func, rest, []))) for rest in _less_one(args))
        case ast.Call(ast.Attribute(attr=method), args) if method in RATIO_METHODS:
            for place in range(len(args)):
                for kind, by in (("looser", 1), ("tighter", -1)):
                    shifted = [_shift(each, by) if index == place else each for index, each in enumerate(args)]
                    yield kind, ast.Call(node.func, shifted, [])


def _compared(node: ast.Compare) -> Iterator[tuple[str, ast.AST]]:
    for place, (op, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
        if type(op) not in ORDERINGS:
            continue
        ops = [ORDERINGS[type(each)]() if index == place else each for index, each in enumerate(node.ops)]
        yield "strict", ast.Compare(node.left, ops, node.comparators)
        for by in (1, -1):
            kind = "looser" if (by > 0) == isinstance(op, ast.Lt | ast.LtE) else "tighter"
            bounds = [_shift(right, by) if index == place else each for index, each in enumerate(node.comparators)]
            yield kind, ast.Compare(node.left, node.ops, bounds)


def _computed(node: ast.BinOp, owner: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    left, right = node.left, node.right
    match node.op:
        case ast.FloorDiv() if not (isinstance(left, ast.UnaryOp) and isinstance(owner, ast.UnaryOp)):
            up = ast.UnaryOp(ast.USub(), ast.BinOp(ast.UnaryOp(ast.USub(), left), ast.FloorDiv(), right))
            yield "rounding", up
        case ast.Add():
            yield "sign", ast.BinOp(left, ast.Sub(), right)
        case ast.Sub():
            yield "sign", ast.BinOp(left, ast.Add(), right)
    for by in (1, -1):
        if isinstance(right, ast.Constant) and isinstance(right.value, int):
            yield "constant", ast.BinOp(left, node.op, _shift(right, by))


def _with(node: ast.AST, field: str, value: Any) -> ast.AST:
    new = type(node)(**{name: getattr(node, name) for name in node._fields if hasattr(node, name)})
    setattr(new, field, value)
    return new


def _shift(node: ast.expr, by: int) -> ast.expr:
    return ast.Call(ast.Name("__shift__", ast.Load()), [node, ast.Constant(by)], [])


def shift(value: Any, by: int) -> Any:
    """Return `value` moved by one unit: a micro, a microsecond, the last place shown of a decimal."""
    if isinstance(value, timedelta):
        return value + timedelta(microseconds=by)
    if hasattr(value, "as_tuple"):
        return value + value.__class__((0, (1,), -6)) * by
    return value + by


class _Filter(ast.NodeTransformer):
    """Wraps every tuple that is a check."""

    def __init__(self, name: str) -> None:
        self._name = name

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        self.generic_visit(node)
        if len(node.elts) != CHECK_PARTS or not isinstance(node.ctx, ast.Load):
            return node
        return ast.Call(ast.Name("__passing__", ast.Load()), [ast.Constant(self._name), node], [])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node


def passing(name: str, check: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `check`, passed if it is the one of that name and failed."""
    if check[0] != name or check[1] is not False:
        return check
    return (name, True, *check[2:-1], None)


@cache
def _defaults() -> Rules:
    return compile_rules(CopyConfig(), 0)


def recompile(module: str, tree: ast.Module, names: set[str]) -> None:
    """Let the live functions of those names run the code of `tree`."""
    running = live(module)
    _defaults()
    running.__dict__.update(__shift__=shift, __passing__=passing, __default__=lambda name: getattr(_defaults(), name))
    for name in names:
        compiled = compile(ast.fix_missing_locations(_alone(tree, name)), running.__file__ or module, "exec")
        codes = {code.co_qualname: code for code in _codes(compiled)}
        _function(running, name).__code__ = codes[name]


def _alone(tree: ast.Module, name: str) -> ast.Module:
    """Return a module of nothing but that function, in its class: compiling all of them takes ten times as long."""
    owner, _, _ = name.rpartition(".")
    alone = ast.parse(f"class {owner}: pass" if owner else "")
    for holder in alone.body[:1] if owner else [alone]:
        vars(holder)["body"] = [dict(functions(tree))[name]]
    return alone


def _codes(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


def _function(module: ModuleType, name: str) -> FunctionType:
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part)
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    if not isinstance(found, FunctionType):
        raise NoSuchCodeError(f"{module.__name__}: expected a function {name}, got {found!r}")
    return found
