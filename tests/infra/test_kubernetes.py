"""local/server: what the Kubernetes manifest and the Compose file promise of the server that batches.

`make lint` checks the manifest against Kubernetes' own schemas.
"""

import re
from typing import Any

import pytest
import yaml

from local.batching.settings import BatchingSettings
from tests.support.repository import ROOT

FOLDER = ROOT / "local" / "server"
MANIFEST = {one["kind"]: one for one in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text("utf-8"))}
POD: dict[str, Any] = MANIFEST["Deployment"]["spec"]["template"]
SERVER: dict[str, Any] = POD["spec"]["containers"][0]
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"]
IMAGES = {kind: (ROOT / "local" / f"Dockerfile.{kind}").read_text("utf-8") for kind in ("cpu", "gpu")}


def ports(container: dict[str, Any]) -> dict[str, int]:
    return {one["name"]: one["containerPort"] for one in container["ports"]}


def variables(dockerfile: str) -> dict[str, str]:
    [lines] = re.findall(r"^ENV (.*?[^\\])$", dockerfile, re.MULTILINE | re.DOTALL)
    return dict(word.split("=") for word in lines.replace("\\\n", " ").split())


def test_every_object_is_there() -> None:
    assert set(MANIFEST) == {
        "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"
    }  # fmt: skip


def test_selectors_find_the_pods() -> None:
    labels = POD["metadata"]["labels"]
    for selector in (
        MANIFEST["Deployment"]["spec"]["selector"]["matchLabels"],
        MANIFEST["Service"]["spec"]["selector"],
        MANIFEST["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        MANIFEST["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        POD["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert selector == labels
    assert MANIFEST["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "onnx-ledger"
    assert "replicas" not in MANIFEST["Deployment"]["spec"], "it would undo what the autoscaler does"


@pytest.mark.parametrize("kind", IMAGES)
def test_the_ports_are_those_of_the_image(kind: str) -> None:
    found = variables(IMAGES[kind])
    assert {"http": int(found["PORT"]), "metrics": int(found["METRICS_PORT"])} == ports(SERVER)
    assert found["HOST"] == "0.0.0.0"
    assert f"EXPOSE {found['PORT']} {found['METRICS_PORT']}" in IMAGES[kind]
    assert POD["metadata"]["annotations"]["prometheus.io/port"] == found["METRICS_PORT"]
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))["scrape_configs"][0]["static_configs"]
    assert scraped == [{"targets": [f"server:{found['METRICS_PORT']}"]}]


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_gets_the_signal_itself_and_is_not_root(kind: str) -> None:
    assert 'CMD ["python", "-m", "local.batching"]' in IMAGES[kind]
    assert "STOPSIGNAL SIGTERM" in IMAGES[kind]
    assert re.search(r"^USER [1-9]\d+:\d+$", IMAGES[kind], re.MULTILINE)
    assert "ENTRYPOINT" not in IMAGES[kind]


def test_a_stop_has_the_time_that_the_server_takes() -> None:
    settings = {one["name"]: one["value"] for one in SERVER["env"]}
    server = BatchingSettings.from_environment(settings)
    pause = SERVER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["spec"]["terminationGracePeriodSeconds"] > pause + server.stop_seconds
    composed = BatchingSettings.from_environment(
        {name: str(value) for name, value in COMPOSE["server"]["environment"].items() if name == "STOP_SECONDS"}
    )
    assert int(COMPOSE["server"]["stop_grace_period"].removesuffix("s")) > composed.stop_seconds


def test_workers_are_as_many_as_the_cores_that_are_asked_for() -> None:
    [workers] = [one["value"] for one in SERVER["env"] if one["name"] == "WORKERS"]
    assert workers == SERVER["resources"]["requests"]["cpu"]
    assert "cpu" not in SERVER["resources"]["limits"], "a throttled worker answers late, and nobody gains"


def test_the_schema_is_migrated_before_a_server_starts() -> None:
    migrate = ["python", "-m", "infra.migrations", "upgrade", "--or-newer"]
    assert POD["spec"]["initContainers"][0]["command"] == migrate == COMPOSE["migrate"]["command"]
    assert COMPOSE["server"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_containers_are_confined() -> None:
    for container in (*POD["spec"]["initContainers"], *POD["spec"]["containers"]):
        context = container["securityContext"]
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    assert POD["spec"]["securityContext"]["runAsNonRoot"]
    assert POD["spec"]["automountServiceAccountToken"] is False
    for name in ("migrate", "server"):
        service = COMPOSE[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
