import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.real.conftest import ROOT, answers, free_port, wait_until

pytestmark = pytest.mark.real


def of(home: Path) -> list[psutil.Process]:
    """The processes that keep their history in a home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DAGSTER_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_make_dev_makes_what_is_missing_and_ctrl_c_stops_all_of_it(tmp_path: Path) -> None:
    """A page on loopback alone, a key ring for its owner, sample data registered; no process is left afterwards."""
    home, port = tmp_path / "home", free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SUBJECT_", "DAGSTER_"))}
    environment |= {"PORT": str(port), "DEV_HOME": str(home), "SUBJECT_STORE_URL": str(tmp_path / "store")}
    with (tmp_path / "log").open("wb") as log:
        make = subprocess.Popen(
            ["make", "dev"], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/server_info"), 180, "the page")
            listening = {
                connection.laddr.ip
                for process in of(home)
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
            assert listening == {"127.0.0.1"}
        finally:
            os.killpg(make.pid, signal.SIGINT)  # what a terminal does at Ctrl-C
        make.wait(60)
    wait_until(lambda: not of(home), 30, "the end of every process")
    ring = home / "key_ring.json"
    assert ring.stat().st_mode & 0o777 == 0o600
    said = (tmp_path / "log").read_text()
    assert str(ring) in said
    assert "SUBJECT_AUTOMATION=on" in said
    store = SubjectStore.at(str(tmp_path / "store"))
    assert [dataset.name for dataset in store.catalog.datasets()] == ["workers"]
    assert [item.key for item in EVENT_INBOX.waiting(store)] == ["inbox/sample_events.jsonl"]
    assert (home / "history").exists()
