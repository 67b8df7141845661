import ast
from pathlib import Path

import mutants
import pytest
from mutants import DECIDING, ROOT, mutants_of, reasons

CODE = '''
"""Not code."""
LIMIT = 3

def judge(rows: list[int], *, strict: bool = True) -> bool:
    """Not code either."""
    if not rows:
        raise ValueError("words")
    for row in rows:
        if row == LIMIT and strict:
            hold(row)
            continue
        return row < 2 or "a" in names
    return any(rows) if strict else f"{rows}"
'''
EXPECTED = {
    "(module): 3 -> 4",
    "judge: True -> False",
    "judge: not rows -> rows",
    "judge: raise ValueError('words') -> pass",
    "judge: row == LIMIT and strict -> row == LIMIT or strict",
    "judge: row == LIMIT -> row != LIMIT",
    "judge: hold(row) -> pass",
    "judge: continue -> break",
    "judge: row < 2 or 'a' in names -> row < 2 and 'a' in names",
    "judge: row < 2 -> row <= 2",
    "judge: 2 -> 3",
    "judge: 'a' in names -> 'a' not in names",
    "judge: 'a' -> 'aX'",
    """judge: any(rows) if strict else f'{rows}' -> any(rows) if not strict else f'{rows}'""",
}


def tree_of(module: str) -> ast.Module:
    """A module of the package, parsed."""
    return ast.parse((ROOT / "subject_pipeline" / f"{module}.py").read_text(encoding="utf-8"))


def test_each_spot_that_decides_is_changed_and_words_are_not() -> None:
    """Comparisons, logic, numbers, texts, calls and raises; no docstring, annotation or message."""
    assert {one.name.partition(" ")[2] for one in mutants_of("m", ast.parse(CODE))} == EXPECTED


def test_every_mutant_is_another_program_that_compiles() -> None:
    """Each is applied to a tree of its own."""
    names = [one.name for one in mutants_of("m", ast.parse(CODE))]
    texts = {ast.unparse(ast.parse(CODE))}
    for at in range(len(names)):
        tree = ast.parse(CODE)
        list(mutants_of("m", tree))[at].apply()
        compile(ast.fix_missing_locations(tree), "m", "exec")
        texts.add(ast.unparse(tree))
    assert len(texts) == 1 + len(names) == 1 + len(set(names))


def test_what_is_called_equivalent_is_there_and_says_why() -> None:
    """A line that outlived its code would hide a mutant that another change makes."""
    there = {one.name for module in DECIDING for one in mutants_of(module, tree_of(module))}
    assert reasons().keys() <= there
    assert all(reasons().values())


@pytest.mark.parametrize("module", DECIDING)
def test_what_decides_has_tests(module: str) -> None:
    """Each module's tests are found by its name."""
    assert mutants.tests_of(module)
    assert all(Path(one).is_file() for one in mutants.tests_of(module))
