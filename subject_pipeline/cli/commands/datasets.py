"""`datasets`: which datasets the catalog knows."""

import click
from pydantic import ValidationError

from subject_pipeline.candidates import staging
from subject_pipeline.cli.shell import Shell, command_options, say
from subject_pipeline.errors import DatasetError
from subject_pipeline.formats.shown_text import without_credentials
from subject_pipeline.objects.location import home_expanded
from subject_pipeline.store.datasets import DatasetDeclaration


@click.group()
def datasets() -> None:
    """Register datasets, list them, and retire them."""


@datasets.command()
@click.argument("name")
@click.option("--source", required=True, metavar="URI", help="Parquet file, folder, glob or URL. Not opened now.")
@click.option("--key-column", required=True, metavar="COL", help="Column that names the person.")
@click.option("--candidate-id-prefix", default="", metavar="P", help="Put before each key to form the id.")
@click.option("--safe-view", "safe_views", multiple=True, metavar="V", help="May be given again.")
@click.option("--no-link", is_flag=True, help="Leave the manifests of people as they are who have one already.")
@command_options
def register(
    shell: Shell,
    name: str,
    source: str,
    key_column: str,
    candidate_id_prefix: str,
    safe_views: tuple[str, ...],
    no_link: bool,
) -> None:
    """Record a dataset's declaration; one of the same name is replaced."""
    try:
        declaration = DatasetDeclaration(
            name=name,
            source=source if "://" in source or not source else str(home_expanded(source).absolute()),
            key_column=key_column,
            candidate_id_prefix=candidate_id_prefix,
            safe_views=safe_views,
            link=not no_link,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise DatasetError(f"cannot register {name!r}: {first['loc'][0]}: {first['msg']}") from error
    shell.open_store().register(declaration)
    shell.tell(
        declaration.model_dump(mode="json", by_alias=True),
        f"registered {name}: key column {key_column!r} of {declaration.source}",
    )


@datasets.command("list")
@command_options
def list_datasets(shell: Shell) -> None:
    """List the registered datasets."""
    found = shell.existing_store().catalog.datasets()
    lines = [
        f"{item.name}: key column {item.key_column!r}, prefix {item.candidate_id_prefix!r}, {_source(item)}"
        for item in found
    ]
    shell.tell(
        {"datasets": [{**item.model_dump(mode="json", by_alias=True), "source": _source(item)} for item in found]},
        "\n".join(lines) or "no dataset is registered",
    )


@datasets.command()
@click.argument("name")
@command_options
def retire(shell: Shell, name: str) -> None:
    """Remove a dataset's declaration and what is staged from the store; its subjects' manifests stay."""
    removed = staging.retire(shell.existing_store(), name)
    shell.tell(
        {"name": name, "retired": True, "staged_removed": removed},
        f"retired {name}: its declaration and {removed:,} staged objects are gone, its subjects' manifests stay",
    )
    say(f"A defs.yaml that still declares {name} brings it back at its next materialization: remove it there too.")


def _source(declaration: DatasetDeclaration) -> str:
    """The source without credentials: declarations of earlier versions may hold credentials."""
    return without_credentials(declaration.source)
