"""`subjects`: look people up, decide about them, and keep their manifests."""

import click

from subject_pipeline.cli.lazy_group import Lazy, LazyGroup

_MANIFESTS = "subject_pipeline.cli.commands.subjects_manifests"
_HISTORY = "subject_pipeline.cli.commands.history"
_LIFE = "subject_pipeline.cli.commands.life"
_DECIDE = f"{_LIFE}.decide"


@click.group(
    cls=LazyGroup,
    lazy=(
        Lazy(
            "certificate",
            "subject_pipeline.cli.commands.life.certificates",
            "Write the certificate of an erasure, which names nobody; docs/verify_certificate.py checks it.",
        ),
        Lazy("classify", _DECIDE, "Set somebody's vertical."),
        Lazy(
            "compact",
            _MANIFESTS,
            "Apply what is recorded, merge small files, and remove for good what no manifest needs.",
        ),
        Lazy("consent", _DECIDE, "Record that consent is given, refused or withdrawn."),
        Lazy("count", _MANIFESTS, "Count the subjects."),
        Lazy("delete", _MANIFESTS, "Delete a subject's manifest, and what is staged for it."),
        Lazy(
            "dossier",
            f"{_HISTORY}.dossier",
            "Write what is held about a person to a new folder; it is recorded as an access on their request.",
        ),
        Lazy(
            "erase",
            "subject_pipeline.cli.commands.life.erase",
            "Erase people: record the order, then the erasure, and keep them from being registered again.",
        ),
        Lazy(
            "explain",
            f"{_LIFE}.subject_explain",
            "Say why a subject's data is kept until when: by which rule, counted from which row of the log.",
        ),
        Lazy("export", _MANIFESTS, "Write every manifest to a file, sorted by chunk and storage key."),
        Lazy("get", _MANIFESTS, "Print a subject's manifest."),
        Lazy(
            "history",
            f"{_HISTORY}.history",
            "Tell what happened to a subject's record: registered, each decision, each access, and what is anchored.",
        ),
        Lazy("hold", _DECIDE, "Place a legal hold: nobody held is erased."),
        Lazy(
            "import",
            _MANIFESTS,
            "Register the manifests of a file, or of a folder of *.json, and replace those that differ.",
        ),
        Lazy("list", f"{_LIFE}.subject_list", "Print the ids of subjects: of all, or of those who meet conditions."),
        Lazy("readmit", _DECIDE, "Let somebody who was erased be registered again."),
        Lazy("release", _DECIDE, "Release a legal hold."),
        Lazy("restrict", _DECIDE, "Restrict processing."),
        Lazy("unrestrict", _DECIDE, "Lift a restriction."),
    ),
)
def subjects() -> None:
    """Look people up, list them, decide about them, count, delete, export and import them."""
