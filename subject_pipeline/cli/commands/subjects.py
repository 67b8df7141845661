"""`subjects`: look people up, decide about them, and keep their manifests."""

import click

from subject_pipeline.cli.lazy_group import Lazy, LazyGroup

_MANIFESTS = "subject_pipeline.cli.commands.subjects_manifests"
_DECIDE = "subject_pipeline.cli.commands.life.decide"


@click.group(
    cls=LazyGroup,
    lazy=(
        Lazy("classify", _DECIDE, "Set somebody's vertical."),
        Lazy(
            "compact",
            _MANIFESTS,
            "Apply what is recorded, merge small files, and remove for good what no manifest needs.",
        ),
        Lazy("consent", _DECIDE, "Record that consent is given, refused or withdrawn."),
        Lazy("count", _MANIFESTS, "Count the subjects."),
        Lazy("delete", _MANIFESTS, "Delete a subject's manifest, and what is staged for it."),
        Lazy("export", _MANIFESTS, "Write every manifest to a file, sorted by chunk and storage key."),
        Lazy("get", _MANIFESTS, "Print a subject's manifest."),
        Lazy("hold", _DECIDE, "Place a legal hold: nobody held is erased."),
        Lazy(
            "import",
            _MANIFESTS,
            "Register the manifests of a file, or of a folder of *.json, and replace those that differ.",
        ),
        Lazy("readmit", _DECIDE, "Let somebody who was erased be registered again."),
        Lazy("release", _DECIDE, "Release a legal hold."),
        Lazy("restrict", _DECIDE, "Restrict processing."),
        Lazy("unrestrict", _DECIDE, "Lift a restriction."),
    ),
)
def subjects() -> None:
    """Look people up, decide about them, count, delete, export and import them."""
