"""`datasets`: which datasets the catalog knows."""

from pathlib import Path

import click
from pydantic import ValidationError

from subject_pipeline.cli.shell import Shell, command_options
from subject_pipeline.domain.datasets import DatasetDeclaration
from subject_pipeline.errors import DatasetError


@click.group()
def datasets() -> None:
    """Register datasets, and list them."""


@datasets.command()
@click.argument("name")
@click.option("--source", required=True, metavar="URI", help="Parquet file, folder, glob or URL. Not opened now.")
@click.option("--key-column", required=True, metavar="COL", help="Column that names the person.")
@click.option("--candidate-id-prefix", default="", metavar="P", help="Put before each key to form the id.")
@click.option("--safe-view", "safe_views", multiple=True, metavar="V", help="May be given again.")
@command_options
def register(
    shell: Shell,
    name: str,
    source: str,
    key_column: str,
    candidate_id_prefix: str,
    safe_views: tuple[str, ...],
) -> None:
    """Record a dataset's declaration; one of the same name is replaced."""
    try:
        declaration = DatasetDeclaration(
            name=name,
            source=source if "://" in source or not source else str(Path(source).expanduser().absolute()),
            key_column=key_column,
            candidate_id_prefix=candidate_id_prefix,
            safe_views=safe_views,
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
    found = shell.open_store().catalog.datasets()
    lines = [
        f"{item.name}: key column {item.key_column!r}, prefix {item.candidate_id_prefix!r}, {item.source}"
        for item in found
    ]
    shell.tell(
        {"datasets": [item.model_dump(mode="json", by_alias=True) for item in found]},
        "\n".join(lines) or "no dataset is registered",
    )
