"""Adapters: the gate in front of the tools of a library for agents.

A tool call of a library comes in, and what may be shown of its answer goes back. `gated_tools` has what all of them do
with it; each other module is where one library hands its calls on. A module needs the extra that is named as it is;
nothing else in this package needs any of them.
"""


def missing(extra: str) -> ImportError:
    """What is raised where an adapter's library is not installed."""
    return ImportError(f"this adapter's library is not installed: pip install 'subject-pipeline[{extra}]'")
