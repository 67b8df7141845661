"""`subjects explain`: why a subject's data is kept until when."""

import datetime as dt

import click

from subject_pipeline.audit.reading import show
from subject_pipeline.cli.shell import Shell, command_options
from subject_pipeline.decisions.stored_policies import stored_policies
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.explaining import explained, in_words
from subject_pipeline.registry.subjects import SubjectRegistry


@click.command()
@click.argument("candidate_id", metavar="ID")
@command_options
def explain(shell: Shell, candidate_id: str) -> None:
    """Say why a subject's data is kept until when: by which rule, counted from which row of the log."""
    store = shell.existing_store()
    manifest = SubjectRegistry(store).get(candidate_id).as_json()
    rows = [line["row"] for line in show(store, candidate_id)]
    found = explained(manifest, rows, stored_policies(store), format_time(dt.datetime.now(dt.UTC)))
    shell.tell(found, in_words(found))
