"""The manifests in deploy/kubernetes: valid, as K-1 to K-8 ask, and the configuration in them valid too."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.config import load_config
from service.daemon.fleet import daemon_settings
from service.folder import configurations
from tests.servers.judges import MANIFESTS as JUDGE

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
KUSTOMIZATION = FOLDER / "kustomization.yaml"
MANIFESTS = sorted(file for file in FOLDER.glob("*.yaml") if file != KUSTOMIZATION)
USER = 10001
UNITS = {"Mi": 1024**2, "Gi": 1024**3}


def found() -> list[dict[str, Any]]:
    return [document for file in MANIFESTS for document in yaml.safe_load_all(file.read_text())]


def the(kind: str, name: str = "") -> dict[str, Any]:
    """The one object of a kind, or of that kind and name."""
    [one] = [one for one in found() if one["kind"] == kind and name in ("", one["metadata"]["name"])]
    return one


def pod() -> dict[str, Any]:
    """What the Deployment says of its pods."""
    spec: dict[str, Any] = the("Deployment")["spec"]["template"]["spec"]
    return spec


def containers() -> list[dict[str, Any]]:
    return [*pod()["initContainers"], *pod()["containers"]]


def server() -> dict[str, Any]:
    [one] = pod()["containers"]
    assert isinstance(one, dict)
    return one


def volume(name: str) -> dict[str, Any]:
    [one] = [one for one in pod()["volumes"] if one["name"] == name]
    assert isinstance(one, dict)
    return one


def size(quantity: str) -> int:
    """Bytes of a quantity such as 5Gi."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def strings(value: Any) -> Iterator[str]:
    """Every text inside a configuration."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, str):
        yield value
    for one in inner:
        yield from strings(one)


@pytest.fixture
def folder(tmp_path) -> Path:
    """The ConfigMap as the pod sees it."""
    for name, text in the("ConfigMap")["data"].items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_the_manifests_are_valid(version):
    tool = [JUDGE.python(), "-m", "kubernetes_validate", "--strict", "--kubernetes-version", version]
    done = subprocess.run([*tool, *MANIFESTS], check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count(" passed for resource ") == len(found()), said
    assert "WARN" not in said


def test_a_misspelt_key_would_be_seen(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text((FOLDER / "deployment.yaml").read_text().replace("failureThreshold", "failureTreshold", 1))
    tool = [JUDGE.python(), "-m", "kubernetes_validate", "--strict", bad]
    assert subprocess.run(tool, check=False, capture_output=True).returncode != 0


def test_kustomize_applies_every_manifest_but_the_example_of_a_secret():
    listed = yaml.safe_load(KUSTOMIZATION.read_text())["resources"]
    assert sorted(listed) == [file.name for file in MANIFESTS if ".example." not in file.name]
    assert {one["metadata"]["name"] for one in found() if one["kind"] == "Namespace"} == {"sluiceway"}
    assert {one["metadata"].get("namespace") for one in found() if one["kind"] != "Namespace"} == {"sluiceway"}


def test_the_pipelines_and_the_settings_of_the_daemon_are_valid(folder):
    assert [load_config(file).pipeline_metadata.pipeline_name for file in configurations(folder)] == ["events"]
    assert daemon_settings(folder).admin.host == "127.0.0.1"
    assert server()["args"] == ["serve", mounted("config")]
    [drive] = pod()["initContainers"]
    assert Path(drive["args"][-1]).name in [file.name for file in configurations(folder)]


def mounted(name: str) -> str:
    """Where a volume is."""
    [where] = [mount["mountPath"] for mount in server()["volumeMounts"] if mount["name"] == name]
    return str(where)


def test_each_secret_that_is_named_is_in_the_example_and_mounted(folder):
    documents = [yaml.safe_load(file.read_text()) for file in folder.iterdir()]
    place = mounted("secrets")
    named = {text for document in documents for text in strings(document) if text.startswith("/run/secrets")}
    assert named == {f"{place}/{name}" for name in the("Secret")["stringData"]}
    assert volume("secrets")["secret"]["secretName"] == the("Secret")["metadata"]["name"]


def test_what_is_written_lies_on_volumes(folder):
    [config] = map(load_config, configurations(folder))
    assert str(config.limits.spool_directory) == mounted("spool")
    assert str(config.drive_table.path).startswith(f"{mounted('drive')}/")
    assert (
        volume("drive")["persistentVolumeClaim"]["claimName"] == the("PersistentVolumeClaim")["metadata"]["name"]
    )


def test_one_replica_that_is_gone_before_the_next_one_comes():
    """K-1."""
    spec = the("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_grace_period_is_longer_than_the_drain_and_no_shell_stands_before_the_signal(folder):
    """K-2."""
    assert pod()["terminationGracePeriodSeconds"] >= daemon_settings(folder).drain_seconds + 30
    assert all("command" not in one and "lifecycle" not in one for one in containers())


def test_startup_and_liveness_ask_for_the_event_loop_and_readiness_for_what_is_needed(folder):
    """K-3."""
    ports = {port["name"]: port["containerPort"] for port in server()["ports"]}
    asked = {kind: server()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: get["path"] for kind, get in asked.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {ports[get["port"]] for get in asked.values()} == {daemon_settings(folder).health.port}


def test_the_namespace_enforces_the_restricted_profile_and_the_pod_is_within_it():
    """K-4."""
    assert the("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    whole = pod()["securityContext"]
    assert whole["runAsNonRoot"] is True
    assert (whole["runAsUser"], whole["fsGroup"]) == (USER, USER)
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in containers():
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    kinds = {key for one in pod()["volumes"] for key in one} - {"name"}
    assert kinds <= {"configMap", "secret", "persistentVolumeClaim", "emptyDir"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod().keys()


def test_no_token_of_the_cluster_is_in_the_pod():
    """K-4."""
    assert pod()["automountServiceAccountToken"] is False
    assert the("ServiceAccount")["automountServiceAccountToken"] is False
    assert pod()["serviceAccountName"] == the("ServiceAccount")["metadata"]["name"]


def test_the_user_is_that_of_the_image():
    dockerfile = (FOLDER.parents[1] / "Dockerfile").read_text()
    assert re.findall(r"(?m)^USER (.*)$", dockerfile) == [f"{USER}:{USER}"]


def test_the_quota_is_at_most_four_fifths_of_the_spool_and_all_fits_the_disk_that_is_asked_for(folder):
    """K-5."""
    sizes = {one["name"]: size(one["emptyDir"]["sizeLimit"]) for one in pod()["volumes"] if "emptyDir" in one}
    assert daemon_settings(folder).spool_quota_bytes <= 0.8 * sizes["spool"]
    [config] = map(load_config, configurations(folder))
    assert config.limits.spool_quota_bytes <= 0.8 * sizes["spool"]
    resources = server()["resources"]
    assert sum(sizes.values()) <= size(resources["requests"]["ephemeral-storage"])
    assert sum(sizes.values()) < size(resources["limits"]["ephemeral-storage"])


def test_the_memory_that_is_asked_for_is_the_limit():
    """K-6."""
    for one in containers():
        assert one["resources"]["requests"]["memory"] == one["resources"]["limits"]["memory"]


def test_a_node_can_be_drained():
    """K-7."""
    spec = the("PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert "minAvailable" not in spec
    assert spec["selector"] == the("Deployment")["spec"]["selector"]


def test_nothing_is_reached_that_is_not_named():
    """K-8."""
    deny = the("NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    allow = the("NetworkPolicy", "sluiceway")["spec"]
    assert allow["podSelector"] == the("Deployment")["spec"]["selector"]
    assert all(
        rule["ports"] and rule.get("from", rule.get("to")) for rule in (*allow["ingress"], *allow["egress"])
    )
    assert [port["port"] for rule in allow["ingress"] for port in rule["ports"]] == [8080]


def test_metrics_are_reached_while_the_pod_is_not_ready():
    spec = the("Service")["spec"]
    assert spec["publishNotReadyAddresses"] is True
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= labels.items()
    assert [port["targetPort"] for port in spec["ports"]] == [port["name"] for port in server()["ports"]]
