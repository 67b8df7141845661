import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`([a-z_/]+\.py)::(test_[a-z0-9_]+)`")


def test_every_test_that_the_threat_model_names_is_there() -> None:
    """Each row of each table names one test, as a function of a file that is there."""
    text = (ROOT / "docs" / "threat_model.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.endswith("shown by |")]
    assert len(rows) > 30
    for row in rows:
        (named,) = NAMED.findall(row)
        path = ROOT / "subject_pipeline_tests" / named[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert named[1] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, named
