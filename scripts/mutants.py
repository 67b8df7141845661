"""Change the code that decides, one spot at a time, and count how many of the changes the tests notice.

A mutant is one change in one module. It is a process of its own, forked before anything of ours is imported, that runs
the module's tests until one fails. A program that a test starts has the code as it is: only tests that call the code
themselves count. Two of the same text in one function have numbers; `mutants_equivalent.txt` names those that no test
can notice, with the reason. (mutmut 3.8 runs here too, but changes no pattern, limit or property, and takes no sample.)
"""

import ast
import copy
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType

import click

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = ROOT / "scripts" / "mutants_equivalent.txt"
DECIDING = [
    "audit/events",
    "audit/result_state",
    "audit/row_form",
    "audit/segment",
    "candidates/candidates",
    "checkpoints/tree/stored",
    "checkpoints/leaves",
    "checkpoints/tree/merkle",
    "checkpoints/proofs",
    "checkpoints/rosters",
    "checkpoints/signed_notes",
    "checkpoints/statement",
    "checkpoints/stored_checkpoints",
    "checkpoints/trusted_keys",
    "registry/deciding",
    "changes/replaying",
    "decisions/decision",
    "decisions/policies",
    "decisions/retention",
    "decisions/transitions",
    "lifecycle/judging",
    "store/chunks",
    "store/ids",
    "anchoring/checkpointing",
    "verification/log_verdicts",
    "verification/manifest_verdicts",
]
# In addition to the files whose names begin like the module's.
_FORMATS, _STORED = "checkpoints/test_formats.py", "checkpoints/test_stored_checkpoints.py"
ALSO_TESTED_BY = {
    "checkpoints/tree/merkle": [_FORMATS],
    "checkpoints/tree/stored": [_STORED],
    "checkpoints/leaves": [_FORMATS],
    "checkpoints/rosters": [_FORMATS, _STORED],
    "checkpoints/statement": [_FORMATS, _STORED],
    "checkpoints/trusted_keys": [_STORED, "anchoring/test_signing_keys.py"],
    "audit/row_form": ["verification/test_log_verdicts.py"],
    "verification/log_verdicts": ["verification/test_questionable.py"],
    "anchoring/checkpointing": [
        "anchoring/test_signing_keys.py",
        "verification/test_forged_layout.py",
        "verification/test_whole_store.py",
    ],
    "decisions/transitions": ["decisions/test_retention.py"],
    "decisions/policies": ["decisions/test_retention.py", "decisions/test_transitions.py"],
    "decisions/retention": ["lifecycle/test_explaining.py"],
    "lifecycle/judging": ["lifecycle/test_applying.py"],
}
# Slow to import, and without threads until they are used, as a fork needs it.
LIBRARIES = "cryptography deltalake hypothesis obstore orjson polars polars_hash pyarrow pydantic pytest tenacity"

_PAIRS = "Eq NotEq, Lt LtE, Gt GtE, In NotIn, Is IsNot, And Or, Add Sub, Mult FloorDiv, BitOr BitAnd, LShift RShift"
SWAPPED = {
    getattr(ast, one): getattr(ast, other)
    for pair in map(str.split, _PAIRS.split(","))
    for one, other in (pair, pair[::-1])
}
NOT_CODE = {"annotation", "returns", "decorator_list"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of one module: what is in `holder` under `field` (at `index`, if that is a list) becomes `new`."""

    name: str
    line: int
    holder: ast.AST
    field: str
    index: int | None
    new: ast.AST

    def apply(self) -> None:
        """Change the tree; nothing changes it back."""
        if self.index is None:
            setattr(self.holder, self.field, self.new)
        else:
            getattr(self.holder, self.field)[self.index] = self.new


def mutants_of(module: str, tree: ast.Module) -> Iterator[Mutant]:
    """All changes of a module, each with a name that stays while other lines come and go."""
    seen: Counter[str] = Counter()
    for scope, holder, field, index, old in _places(tree, ""):
        for new in _instead_of(old):
            texts = (" ".join(ast.unparse(node).split())[:100] for node in (old, new))
            name = f"{module} {scope or '(module)'}: {' -> '.join(texts)}"
            seen[name] += 1
            number = f" #{seen[name]}" if seen[name] > 1 else ""
            yield Mutant(name + number, old.lineno, holder, field, index, new)


def _places(holder: ast.AST, scope: str) -> Iterator[tuple[str, ast.AST, str, int | None, ast.stmt | ast.expr]]:
    """Every statement and expression that runs, except docstrings and the messages of errors."""
    for field, value in ast.iter_fields(holder):
        if field in NOT_CODE:
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            words = isinstance(node, ast.JoinedStr) or (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            )
            if words or not isinstance(node, ast.AST):
                continue
            if isinstance(node, ast.stmt | ast.expr):
                yield scope, holder, field, index, node
            if not isinstance(node, ast.Raise):
                own = f".{node.name}" if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
                yield from _places(node, f"{scope}{own}".lstrip("."))


def _instead_of(node: ast.AST) -> Iterator[ast.AST]:  # noqa: C901, PLR0912 - a list
    match node:
        case ast.Compare(ops=operators):
            for at, operator in enumerate(operators):
                yield _with(node, ops=[*operators[:at], SWAPPED[type(operator)](), *operators[at + 1 :]])
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if type(operator) in SWAPPED:
            yield _with(node, op=SWAPPED[type(operator)]())
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str(value)) if " " not in value.strip():  # other words are for people
            yield ast.Constant(f"{value}X")
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            if isinstance(test, ast.Name | ast.Attribute | ast.Call):
                yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Expr(value=value) if not isinstance(value, ast.Yield | ast.YieldFrom):
            yield ast.Pass()
        case ast.AugAssign() | ast.Raise():
            yield ast.Pass()
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


class Changed(SourceFileLoader):
    """Finds and imports one module, from a tree and not from its file."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        super().__init__(f"subject_pipeline.{module.replace('/', '.')}", str(ROOT / f"subject_pipeline/{module}.py"))
        self._code = compile(ast.fix_missing_locations(tree), self.path, "exec")

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """As of a finder."""
        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - as of a loader
        """The tree's."""
        return self._code


def reasons() -> dict[str, str]:
    """Why no test can notice a mutant, by the mutant's name."""
    lines = (line.rpartition(" | ") for line in EQUIVALENT.read_text(encoding="utf-8").splitlines())
    return {name: reason for name, _, reason in lines if name and not name.startswith("#")}


def tests_of(module: str) -> list[str]:
    """The files that have to notice a change."""
    folder, _, name = module.rpartition("/")
    tests = ROOT / "subject_pipeline_tests"
    own = sorted((tests / folder).glob(f"test_{name}*.py"))
    return [str(path) for path in (*own, *(tests / also for also in ALSO_TESTED_BY.get(module, ())))]


def start(module: str, tree: ast.Module, mutant: Mutant | None, seconds: int, folder: Path) -> int:
    """Run the module's tests in a new process; it ends with pytest's exit code, or by the alarm."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(seconds)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    if mutant is not None:
        mutant.apply()
        sys.meta_path.insert(0, Changed(module, tree))
    arguments = ["-q", "-x", "-m", "not real", "--assert=plain", f"--basetemp={folder}/{os.getpid()}"]
    arguments += ["-p", "no:cacheprovider", "-p", "no:xdist"]
    os._exit(int(importlib.import_module("pytest").main([*arguments, *tests_of(module)])))


def survivors_of(module: str, tree: ast.Module, mutants: Sequence[Mutant], jobs: int) -> Iterator[Mutant]:
    """The mutants of one module that no test notices, as they are found.

    Raises:
        click.ClickException: the tests fail on the code as it is.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.perf_counter()
        if os.waitpid(start(module, tree, None, 600, folder), 0)[1]:
            raise click.ClickException(f"the tests of {module} fail on the code as it is: {' '.join(tests_of(module))}")
        seconds = int(4 * jobs * (time.perf_counter() - began)) + 10
        waiting, running = list(mutants)[::-1], dict[int, Mutant]()
        while waiting or running:
            while waiting and len(running) < jobs:
                mutant = waiting.pop()
                running[start(module, tree, mutant, seconds, folder)] = mutant
            pid, status = os.wait()
            shutil.rmtree(folder / str(pid), ignore_errors=True)
            mutant = running.pop(pid)
            if status == 0:
                yield mutant


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option(
    "--module",
    "modules",
    multiple=True,
    help="One of those that decide, such as decisions/retention; again for more.",
)
@click.option("--sample", type=int, help="Try only so many mutants, taken at random.")
@click.option("--seed", default=0, show_default=True, help="Of the sample.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Mutants at once.")
@click.option("--least", default=95, show_default=True, help="Fail below this kill rate, in percent.")
def main(modules: tuple[str, ...], sample: int | None, seed: int, jobs: int, least: int) -> None:
    """Run the mutants and print the kill rates."""
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for name in LIBRARIES.split():
        importlib.import_module(name)
    equivalent = set(reasons())
    trees = {one: ast.parse((ROOT / f"subject_pipeline/{one}.py").read_text("utf-8")) for one in DECIDING}
    everyone = {mutant.name: (one, mutant) for one, tree in trees.items() for mutant in mutants_of(one, tree)}
    if gone := equivalent - everyone.keys():
        raise click.ClickException(f"{EQUIVALENT.name} names no mutant that there is: {'; '.join(sorted(gone))}")
    asked = [name for name, (one, _) in everyone.items() if not modules or one in modules]
    chosen = [name for name in asked if name not in equivalent]
    left_out = len(asked) - len(chosen)
    if sample is not None and sample < len(chosen):
        chosen = random.Random(seed).sample(chosen, sample)  # noqa: S311 - a sample is no secret
    tried = survived = 0
    for one, tree in trees.items():
        mutants = [everyone[name][1] for name in chosen if everyone[name][0] == one]
        left = 0
        for mutant in survivors_of(one, tree, mutants, jobs) if mutants else ():
            left += 1
            click.echo(f"  survived in line {mutant.line}: {mutant.name}")
        if mutants:
            click.echo(f"{one}: {len(mutants) - left} of {len(mutants)} killed")
        tried, survived = tried + len(mutants), survived + left
    rate = 100 * (tried - survived) / max(1, tried)
    click.echo(f"killed {tried - survived} of {tried}: {rate:.1f} % ({left_out} that are equivalent were not tried)")
    sys.exit(not tried or rate < least)


if __name__ == "__main__":
    main()
