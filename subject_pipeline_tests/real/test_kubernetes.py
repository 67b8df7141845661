"""`deploy/kubernetes/`, as far as it can be tried without a cluster."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import validate_config
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_k8s import K8sRunLauncher
from kubernetes.client import ApiClient, V1Job

from subject_pipeline_tests.real.conftest import BIN, ROOT
from subject_pipeline_tests.real.postgres import running_postgres

pytestmark = pytest.mark.real

FOLDER = ROOT / "deploy" / "kubernetes"
HOME = "/opt/dagster/dagster_home"
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "none",
    "clusters": [{"name": "none", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "none", "user": {"token": "none"}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
}


def snake(name: str) -> str:
    """`maxConcurrentRuns` as `max_concurrent_runs`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def snaked(values: dict[str, Any]) -> dict[str, Any]:
    """The first level's keys as Dagster spells them; what is below is Kubernetes's own."""
    return {snake(key): value for key, value in values.items()}


def launcher_config(values: dict[str, Any]) -> dict[str, Any]:
    """The run launcher's config as the chart's template `_run-launcher.tpl` makes it of the values."""
    given = dict(values["runLauncher"]["config"]["k8sRunLauncher"])
    config = snaked(given)
    config["run_k8s_config"] = snaked(config["run_k8s_config"])
    config.pop("fail_pod_on_run_failure")  # the template leaves it out where it is false
    return {
        **config,
        "job_namespace": "default",
        "service_account_name": values["global"]["serviceAccountName"],
        "dagster_home": {"env": "DAGSTER_HOME"},
        "instance_config_map": {"env": "DAGSTER_K8S_INSTANCE_CONFIG_MAP"},
        "postgres_password_secret": {"env": "DAGSTER_K8S_PG_PASSWORD_SECRET"},
        "env_config_maps": [{"env": "DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP"}],
    }


def instance_config(values: dict[str, Any]) -> dict[str, Any]:
    """`dagster.yaml` as the chart's template `configmap-instance.yaml` makes it of the values."""
    given = values["postgresql"]
    postgres = {
        "postgres_db": {
            "username": given["postgresqlUsername"],
            "password": {"env": "DAGSTER_PG_PASSWORD"},
            "hostname": given["postgresqlHost"],
            "db_name": given["postgresqlDatabase"],
            "port": given["service"]["port"],
            "params": given["postgresqlParams"],
            "scheme": given["postgresqlScheme"],
        }
    }
    storages = {
        "run_storage": ("dagster_postgres.run_storage", "PostgresRunStorage"),
        "event_log_storage": ("dagster_postgres.event_log", "PostgresEventLogStorage"),
        "schedule_storage": ("dagster_postgres.schedule_storage", "PostgresScheduleStorage"),
    }
    daemon, concurrency = values["dagsterDaemon"], values["concurrency"]
    return {
        "scheduler": {"module": "dagster.core.scheduler", "class": "DagsterDaemonScheduler"},
        **{key: {"module": module, "class": name, "config": postgres} for key, (module, name) in storages.items()},
        "run_launcher": {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": launcher_config(values)},
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": daemon["runCoordinator"]["type"],
            "config": snaked(daemon["runCoordinator"]["config"]["queuedRunCoordinator"]),
        },
        "compute_logs": {
            "module": "dagster.core.storage.noop_compute_log_manager",
            "class": values["computeLogManager"]["type"],
        },
        "concurrency": {name: snaked(concurrency[name]) for name in ("runs", "pools")},
        "run_monitoring": snaked(daemon["runMonitoring"]),
        "run_retries": snaked(daemon["runRetries"]),
        "sensors": snaked(daemon["sensors"]),
        "schedules": snaked(daemon["schedules"]),
        "telemetry": values["telemetry"],
        "retention": {snake(name): snaked(kept) for name, kept in values["retention"].items() if name != "enabled"},
    }


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """The values, parsed."""
    parsed: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text(encoding="utf-8"))
    return parsed


@pytest.fixture(scope="module")
def home(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the chart's `dagster.yaml`, but for Postgres's address, and a kubeconfig that leads nowhere."""
    folder = tmp_path_factory.mktemp("kubernetes")
    (folder / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG), encoding="utf-8")
    with running_postgres() as server, pytest.MonkeyPatch.context() as patch:
        config = instance_config(values)
        for storage in ("run_storage", "event_log_storage", "schedule_storage"):
            place = {"hostname": "127.0.0.1", "port": server.port, "params": {"sslmode": "prefer"}}
            config[storage]["config"] = {"postgres_db": {**config[storage]["config"]["postgres_db"], **place}}
        config["run_launcher"]["config"] |= {
            "load_incluster_config": False,
            "kubeconfig_file": str(folder / "kubeconfig"),
        }
        (folder / "dagster.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        for name, value in {
            "DAGSTER_HOME": HOME,
            "DAGSTER_PG_PASSWORD": server.password,
            "DAGSTER_K8S_INSTANCE_CONFIG_MAP": "dagster-instance",
            "DAGSTER_K8S_PG_PASSWORD_SECRET": values["global"]["postgresqlSecretName"],
            "DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP": "dagster-pipeline-env",
        }.items():
            patch.setenv(name, value)
        yield folder


def test_the_values_fit_the_launchers_own_schema(values: dict[str, Any]) -> None:
    """Every key is one that the installed K8sRunLauncher takes; a misspelt one is refused."""
    schema = dg.Field(K8sRunLauncher.config_type()).config_type  # type: ignore[no-untyped-call]
    checked = validate_config(schema, launcher_config(values))
    assert checked.success, checked.errors
    misspelt = {**launcher_config(values), "image_pul_policy": "Always"}
    assert not validate_config(schema, misspelt).success


def test_dagster_loads_the_instance(home: Path) -> None:
    """`dagster instance info` accepts all of it, and names launcher, storage and limits."""
    done = subprocess.run(
        [BIN / "dagster", "instance", "info"],
        env={**os.environ, "DAGSTER_HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    for word in ("K8sRunLauncher", "PostgresRunStorage", "postgresql+psycopg2", "max_concurrent_runs: 16"):
        assert word in done.stdout


@dataclass
class Recorded:
    """Stands for the cluster's API: what would have been sent to it."""

    jobs: list[V1Job] = field(default_factory=list)

    def create_namespaced_job_with_retries(self, body: V1Job, namespace: str) -> None:
        """Keep a job."""
        assert namespace == "default"
        self.jobs.append(body)


@pytest.fixture(scope="module")
def job(home: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The Job that a run of `register_workers` is launched as, in Kubernetes's own words."""

    @dg.job
    def register_workers() -> None:
        """Stands for the job of this name; the Job names it and holds nothing else of it."""

    (server,) = values["dagster-user-deployments"]["deployments"]
    assert not server["includeConfigInLaunchedRuns"]["enabled"]
    image = server["image"]
    repository = RepositoryPythonOrigin(
        executable_path="/opt/venv/bin/python",
        code_pointer=ModuleCodePointer("subject_pipeline.definitions", "defs"),
        container_image=f"{image['repository']}:{image['tag']}",
        entry_point=["dagster"],
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, K8sRunLauncher)
        recorded = Recorded()
        launcher._api_client = recorded
        run = instance.create_run_for_job(
            register_workers, job_code_origin=JobPythonOrigin("register_workers", repository)
        )
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
        (body,) = recorded.jobs
        rendered: dict[str, Any] = ApiClient().sanitize_for_serialization(body)
        return rendered


def test_a_run_becomes_one_job(job: dict[str, Any], values: dict[str, Any]) -> None:
    """One pod that runs this image, is tried once, has an end, and is cleaned up."""
    assert job["kind"] == "Job"
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (0, 21_600, 86_400)
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert container["image"] == "registry.example.com/subject-pipeline:0.1.0"
    assert "execute_run" in container["args"]
    assert container["resources"]["limits"] == {"memory": "2Gi"}
    assert job["metadata"]["labels"]["dagster/job"] == "register_workers"


def test_a_runs_pod_has_the_environment_of_the_code_server(job: dict[str, Any], values: dict[str, Any]) -> None:
    """Store, chunks and key ring are the same for both, and Postgres's password comes from its secret."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one.get("value") for one in container["env"]}
    wanted = {one["name"]: one["value"] for one in values["dagster-user-deployments"]["deployments"][0]["env"]}
    assert wanted.items() <= given.items()
    assert set(wanted) >= {"SUBJECT_STORE_URL", "SUBJECT_CHUNKS", "SUBJECT_KEY_RING"}
    (password,) = [one["valueFrom"] for one in container["env"] if one["name"] == "DAGSTER_PG_PASSWORD"]
    assert password["secretKeyRef"]["name"] == "dagster-postgresql"
    assert given["DAGSTER_HOME"] == HOME


def test_only_a_runs_own_user_reads_the_key_ring(job: dict[str, Any], values: dict[str, Any]) -> None:
    """No pod is root; the ring is a secret of mode 0400, copied into memory for the run's user; nobody else has it."""
    pod = job["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["key-ring-secret"]["secret"] == {"secretName": "subject-key-ring", "defaultMode": 0o400}
    assert volumes["key-ring"]["emptyDir"]["medium"] == "Memory"
    (copy,), (container,) = pod["initContainers"], pod["containers"]
    assert copy["image"] == container["image"]
    for one in (copy, container):
        assert one["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    (mounted,) = [mount for mount in container["volumeMounts"] if mount["name"].startswith("key-ring")]
    assert mounted == {"name": "key-ring", "mountPath": "/run/key-ring", "readOnly": True}
    assert copy["command"][-1] == "/run/key-ring/ring.json"
    assert {mount["mountPath"] for mount in copy["volumeMounts"]} == {"/run/secret", "/run/key-ring"}
    others = [values["dagsterWebserver"], values["dagsterDaemon"], *values["dagster-user-deployments"]["deployments"]]
    for other in others:
        assert other["podSecurityContext"]["runAsNonRoot"]
        assert "volumes" not in other


def test_the_copied_key_ring_is_one_that_is_read(tmp_path: Path, values: dict[str, Any]) -> None:
    """What the init container's command leaves, the product takes; what a mounted secret is, it refuses."""
    ring = tmp_path / "secret.json"
    keys: list[str | Path] = [BIN / "subject-pipeline", "keys"]
    subprocess.run([*keys, "new", ring], check=True, capture_output=True)
    ring.chmod(0o440)  # as fsGroup makes it
    pod = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]
    program, *flags, _, _ = pod["initContainers"][0]["command"]
    subprocess.run([program, *flags, ring, tmp_path / "ring.json"], check=True)

    def read(path: Path) -> int:
        environment = {**os.environ, "SUBJECT_KEY_RING": str(path)}
        return subprocess.run([*keys, "public"], env=environment, check=False, capture_output=True).returncode

    assert read(tmp_path / "ring.json") == 0
    assert read(ring) == 2


def copied() -> list[str]:
    """What the Dockerfile copies from the repository."""
    lines = re.findall(r"^COPY (?!--from).+$", (FOLDER / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    return [name for line in lines for name in line.split()[1:-1]]


# The tests' own environment leads to the repository: an installed package would stand in for one that was not copied.
ONLY_THE_IMAGE = """
import os, sys
image, here = os.environ["PYTHONPATH"].split(os.pathsep)
others = [one for one in sys.path if os.path.isdir(os.path.join(one, "subject_pipeline")) and one != image]
sys.path[:] = [one for one in sys.path if one not in others]
"""


def loaded(names: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Load the definitions from an image's folder that holds only these, with the code server's own arguments."""
    image, site, home = (folder / name for name in ("image", "site", "home"))
    for made in (image, site, home):
        made.mkdir()
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, image / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, image / name)
    (site / "sitecustomize.py").write_text(ONLY_THE_IMAGE, encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SUBJECT_", "DAGSTER_"))}
    return subprocess.run(
        [BIN / "dagster", "definitions", "validate", "-m", "subject_pipeline.definitions"],
        cwd=image,
        env={**clean, "PYTHONPATH": f"{image}{os.pathsep}{site}", "DAGSTER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def test_the_image_holds_all_that_the_code_location_needs(tmp_path: Path) -> None:
    """The definitions load from nothing but what the Dockerfile copies."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    allowed = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert {f"!{name}" for name in copied()} <= set(allowed.splitlines())
    (folder_of_build,) = set(re.findall(r"^WORKDIR (.+)$", text, re.MULTILINE))
    assert folder_of_build == "/opt/subject_pipeline"
    done = loaded(copied(), tmp_path)
    assert done.returncode == 0, done.stderr[-3_000:]


def test_an_image_that_lacks_the_package_does_not_load(tmp_path: Path) -> None:
    """What the image lacks is not found elsewhere on this machine."""
    done = loaded([name for name in copied() if name != "subject_pipeline"], tmp_path)
    assert done.returncode != 0
    assert "No module named 'subject_pipeline'" in done.stdout + done.stderr


def test_the_image_copies_what_the_packages_build_reads() -> None:
    """The build backend reads the project's description and licence beside the code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"pyproject.toml", project["readme"], *project["license-files"]} <= set(copied())


def test_no_image_is_called_latest(values: dict[str, Any]) -> None:
    """All parts have one image with a fixed tag, so that a run has the code that its page shows."""
    images = [values["dagsterWebserver"]["image"], values["dagsterDaemon"]["image"]]
    images += [server["image"] for server in values["dagster-user-deployments"]["deployments"]]
    names = {f"{image['repository']}:{image['tag']}" for image in images}
    pod = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]
    names |= {container["image"] for container in pod["initContainers"]}
    assert len(names) == 1
    assert "latest" not in names.pop()
