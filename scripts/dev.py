"""`make dev`: Dagster's web server and daemon on loopback, with sample data, a key ring and a history that stays.

What is missing is made at the first start: people in `sample_data/`, the dataset's declaration in the store's catalog,
event files in a local store's inbox, and the key ring. Nothing that is there is changed. Ctrl-C stops all of it.
"""

import os
import secrets
import shutil
import sys
from pathlib import Path

from subject_pipeline.errors import SubjectPipelineError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.samples.events import sample_events
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.settings import DAGSTER_URL, Settings
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.layout import INBOX
from subject_pipeline.store.opened import SubjectStore

ROOT = Path(__file__).resolve().parent.parent
PEOPLE, EVENTS = 100_000, 20_000


def prepare(home: Path, settings: Settings) -> None:
    """Make what is missing."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home)
    people = ROOT / "sample_data" / "workers.parquet"
    if not people.exists():
        sample_workers(PEOPLE, people)
    ring = Path(settings.key_ring or home / "key_ring.json")
    if not ring.exists():
        create_ring(ring, KeyRing.new(secrets.token_bytes(32), secrets.token_bytes(32)))
        print(f"made a key ring: {ring} (keep a copy where the store is not)")
    store = SubjectStore.at(settings.store_url, wanted_chunks=settings.chunks)
    if any(dataset.name == "workers" for dataset in store.catalog.datasets()):
        return
    store.register(
        DatasetDeclaration(
            name="workers",
            source=str(people),
            key_column="worker_id",
            candidate_id_prefix="WORKER-",
            safe_views=("workers_public",),
        )
    )
    folder = store.location.local_path
    if folder is not None and not any(store.objects.list(INBOX)):
        sample_events(EVENTS, folder / INBOX / "sample_events.jsonl", people=PEOPLE)


def main() -> None:
    """Prepare, say where everything is, and become `dagster dev`."""
    home, port = Path(os.environ["DAGSTER_HOME"]), os.environ.get("PORT") or "3000"
    page = f"http://127.0.0.1:{port}"
    os.environ[DAGSTER_URL] = os.environ.get(DAGSTER_URL, "").strip() or page  # alerts link there
    try:
        settings = Settings.read(os.environ)
        prepare(home, settings)
    except SubjectPipelineError as error:
        sys.exit(f"error: {error}")
    for name, words in {
        "page": f"{page}   (no login: it listens only on this machine)",
        "history": str(home),
        "store": settings.store_url,
        "key ring": settings.key_ring or "",
        "automation": "on: sensors and schedules run"
        if settings.automation
        else "off; SUBJECT_AUTOMATION=on turns sensors and schedules on",
        "stop": "Ctrl-C stops all of it",
    }.items():
        print(f"{name:>12}  {words}")
    sys.stdout.flush()
    log_format = "json" if os.environ.get("SUBJECT_LOG_FORMAT", "").lower() == "json" else "colored"
    dagster = str(Path(sys.executable).with_name("dagster"))
    os.chdir(ROOT)
    os.execv(  # noqa: S606 - no shell is wanted
        dagster, [dagster, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", port, "--log-format", log_format]
    )


if __name__ == "__main__":
    main()
