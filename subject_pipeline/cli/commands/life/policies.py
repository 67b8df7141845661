"""`policies`: how long data is kept, which verticals there are, and what takes four eyes."""

from pathlib import Path

import click
import yaml

from subject_pipeline.cli.shell import Shell, command_options, say
from subject_pipeline.decisions.stored_policies import read_policies_file, store_policies, stored_policies
from subject_pipeline.lifecycle.applying_policies import effect_of


@click.group()
def policies() -> None:
    """Declare how long data is kept and which verticals there are."""


@policies.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@command_options
def apply(shell: Shell, file: Path) -> None:
    """Put the policies of a YAML file in force, and say what they mean for the manifests; no date is moved.

    A date is computed when a decision changes what it depends on. Those that would differ are counted, and so are
    manifests with a policy or vertical that is not declared any more.
    """
    declared = read_policies_file(file)
    store = shell.keyed_store(new=True)
    effect = effect_of(store, declared)
    changed = store_policies(store, declared)
    shell.tell(
        {
            "file": str(file),
            "sha256": declared.sha256,
            "changed": changed,
            "subjects": effect.subjects,
            "dates_differ": effect.dates_differ,
            "undeclared": effect.undeclared,
            "undeclared_policies": dict(effect.undeclared_policies),
            "undeclared_verticals": dict(effect.undeclared_verticals),
        },
        f"policies {declared.sha256[:12]} {'are in force' if changed else 'were in force already'}; of "
        f"{effect.subjects:,} manifests {effect.dates_differ:,} have a date that these policies would give otherwise, "
        f"and it stays; {effect.undeclared:,} have a policy or vertical that is not declared",
    )
    for what, counts in (("policy", effect.undeclared_policies), ("vertical", effect.undeclared_verticals)):
        for name, count in counts.items():
            say(f"not declared: {what} {name} of {count:,} manifests")


@policies.command()
@command_options
def show(shell: Shell) -> None:
    """Print the policies in force, in the form of a policies file."""
    in_force = stored_policies(shell.existing_store())
    found = in_force.as_declared()
    shell.tell({**found, "sha256": in_force.sha256},
               yaml.safe_dump(found, sort_keys=False, default_flow_style=None).rstrip())  # fmt: skip
