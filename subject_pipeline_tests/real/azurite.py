"""A real Azure blob server (azurite, from npm) on loopback."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from subject_pipeline_tests.real.conftest import ROOT, answers, free_port, running, wait_until

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # azurite's own
SCRIPT = ROOT / ".real_parts/azurite/node_modules/azurite/dist/src/blob/main.js"


@dataclass(frozen=True)
class Azurite:
    """A running server."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that reach it."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": self.url,
        }

    def container(self, name: str) -> str:
        """A fresh container's URL."""
        with BlobServiceClient(f"{self.url}/{ACCOUNT}", credential=KEY) as client:
            client.create_container(name)
        return f"az://{name}"


@contextmanager
def azurite(folder: Path) -> Iterator[Azurite]:
    """The server, stopped at the end."""
    node = shutil.which("node")
    if node is None or not SCRIPT.exists():
        if os.environ.get("CI"):
            pytest.fail("azurite is not installed: scripts/install_real_parts.sh azurite")
        pytest.skip("azurite is not installed: scripts/install_real_parts.sh azurite (needs node and npm)")
    port = free_port()
    command: list[str | Path] = [
        *(node, SCRIPT, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"),
        *("--skipApiVersionCheck", "--disableTelemetry", "--silent"),
    ]
    url = f"http://127.0.0.1:{port}"
    with running(command, folder / "azurite.log", dict(os.environ)):
        wait_until(lambda: answers(url), 90, "the Azure server")
        yield Azurite(url)
