"""One process of the tests with several: calls `decisions apply FILE --json` for each line that it reads.

Says that it is ready once it has imported what the command needs. A line is JSON: `store`, `file` and, if wanted,
`group`, the decisions that one commit of the table applies.
"""

import json
import sys

from subject_pipeline.cli.commands.life import decisions_apply
from subject_pipeline.cli.main import main
from subject_pipeline.lifecycle import applying


def call(asked: dict[str, str]) -> None:
    """Apply a file as the command line does; the key ring is the environment's."""
    applying._GROUP = int(asked.get("group", applying._GROUP))
    sys.argv = ["subject-pipeline", "--store", asked["store"], "decisions", "apply", asked["file"], "--json"]
    try:
        main()
    except SystemExit:
        sys.stdout.flush()


if __name__ == "__main__":
    assert decisions_apply.apply.name == "apply"
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        call(json.loads(line))
