"""What `deploy/kubernetes` promises, as far as it can be told without a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped] # it ships no types
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped] # it ships no types

from dev.docs import registry_document
from dev.first_secrets import SecretFolder
from services.registry.access import require_guard
from services.registry.api.openapi import operations
from services.registry.settings import RegistrySettings
from shared.contracts.topology import CAPTURE_BATCHES
from shared.outbound.policy import OutboundPolicy
from shared.serving.health import Health
from shared.settings import ServiceSettings
from shared.version import VERSION
from tests.kustomize import Manifest, built, containers, kustomization, loaded
from tests.unit.exposed_metrics import OURS
from tests.unit.test_compose import ROOT, settings_of, variables_of

FOLDER: Final = ROOT / "deploy" / "kubernetes"
FOLDERS: Final = ("base", "autoscaling", "example")
SERVICES: Final = ("registry", "puller", "ingest")
VERSIONS: Final = ("1.30", "1.37")
"""The first that can sleep before it stops a container, and the newest whose schemas are installed."""
BASE: Final = built(FOLDER / "base")
EXAMPLE: Final = built(FOLDER / "example")
HTTP_PORTS: Final = {"registry": 8000, "puller": 8001, "ingest": 8002}
MIB: Final = {"Mi": 1, "Gi": 1024}

every_service = pytest.mark.parametrize("name", SERVICES)


def _schema(required: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Of an object that has these fields, may have those, and no more."""
    properties = {**required, **others}
    return {"type": "object", "required": [*required], "properties": properties, "additionalProperties": False}


_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}
_NAMED: Final = _schema({"name": _TEXT})
_POLICY: Final = _schema({"type": {"enum": ["Pods", "Percent"]}, "value": _COUNT, "periodSeconds": _COUNT})
_RULES: Final = _schema({}, stabilizationWindowSeconds=_COUNT, policies={"type": "array", "items": _POLICY})
_BEHAVIOR: Final = _schema({}, scaleUp=_RULES, scaleDown=_RULES)
_TRIGGER: Final = _schema(
    {"type": _TEXT, "metadata": _TEXTS},
    name=_TEXT,
    metricType={"enum": ["AverageValue", "Value", "Utilization"]},
    authenticationRef=_NAMED,
)
_SCALED: Final = _schema(
    {"scaleTargetRef": _NAMED, "triggers": {"type": "array", "items": _TRIGGER, "minItems": 1}},
    minReplicaCount=_COUNT,
    maxReplicaCount=_COUNT,
    pollingInterval=_COUNT,
    advanced=_schema({"horizontalPodAutoscalerConfig": _schema({"behavior": _BEHAVIOR})}),
)
_SECRET_KEY: Final = _schema({"parameter": _TEXT, "name": _TEXT, "key": _TEXT})
_AUTHENTICATION: Final = _schema({"secretTargetRef": {"type": "array", "items": _SECRET_KEY, "minItems": 1}})
KEDA: Final = {
    kind: _schema({"apiVersion": {"const": "keda.sh/v1alpha1"}, "kind": _TEXT, "metadata": {}, "spec": spec})
    for kind, spec in {"ScaledObject": _SCALED, "TriggerAuthentication": _AUTHENTICATION}.items()
}
"""As much of KEDA's own schemas (2.20) as is used here."""


def named(objects: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Those of a kind, by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pod(name: str, objects: list[Manifest] = BASE) -> Manifest:
    """The pods of a service."""
    return dict(named(objects, "Deployment")[name]["spec"]["template"]["spec"])


def container(name: str, objects: list[Manifest] = BASE) -> Manifest:
    """Its one container."""
    [found] = pod(name, objects)["containers"]
    return dict(found)


def environment(name: str, objects: list[Manifest] = EXAMPLE) -> dict[str, str]:
    """What the container of a service gets from its ConfigMaps."""
    found: dict[str, str] = {}
    for source in container(name, objects)["envFrom"]:
        data = named(objects, "ConfigMap")[source["configMapRef"]["name"]]["data"]
        assert not set(data) & set(found)
        found |= data
    return found


def secret_keys(name: str) -> list[str]:
    """What its pods take of the Secret."""
    [secret] = [volume["secret"] for volume in pod(name)["volumes"] if "secret" in volume]
    assert secret["secretName"] == f"pullsync-{name}"
    assert all(item["key"] == item["path"] for item in secret["items"])
    return [item["key"] for item in secret["items"]]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make secrets` makes."""
    folder = SecretFolder(tmp_path_factory.mktemp("made") / "secrets")
    folder.complete([])
    return folder.root


# ---------------------------------------------------------------- shape


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_file_is_listed(folder: str) -> None:
    """What is not would be applied by nobody."""
    files = {path.name for path in (FOLDER / folder).iterdir()} - {"kustomization.yaml"}
    listed = [name for name in kustomization(FOLDER / folder)["resources"] if not name.startswith("..")]
    assert sorted(files) == sorted(listed)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", [*BASE, *EXAMPLE], ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_each_object_is_as_kubernetes_wants_it(manifest: Manifest, version: str) -> None:
    """By its schema, in which a field that is misspelt is an error; KEDA's kinds by their own."""
    if manifest["kind"] in KEDA:
        Draft202012Validator(KEDA[manifest["kind"]]).validate(manifest)
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_is_noticed() -> None:
    """By both kinds of schemas, so that the test above can fail."""
    [scaled] = [each for each in loaded(FOLDER / "autoscaling" / "puller.yaml") if each["kind"] == "ScaledObject"]
    scaled["spec"]["maxReplicas"] = 7
    with pytest.raises(ValidationError, match="maxReplicas"):
        Draft202012Validator(KEDA["ScaledObject"]).validate(scaled)
    [service] = [each for each in loaded(FOLDER / "base" / "registry.yaml") if each["kind"] == "Service"]
    service["spec"]["sessionAfinity"] = "None"
    with pytest.raises(kubernetes_validate.ValidationError, match="sessionAfinity"):
        kubernetes_validate.validate(service, VERSIONS[-1], strict=True)


def test_no_object_is_there_twice() -> None:
    """And the example has all that the base has."""
    names = [(each["kind"], each["metadata"]["name"]) for each in EXAMPLE]
    assert len(set(names)) == len(names)
    assert {(each["kind"], each["metadata"]["name"]) for each in BASE} < set(names)
    assert set(named(BASE, "Deployment")) == set(SERVICES)


def test_no_secret_is_in_the_manifests() -> None:
    """They are referred to by name; nothing that is set has a password or the name of a secret."""
    assert not named(EXAMPLE, "Secret")
    for data in (each["data"] for each in named(EXAMPLE, "ConfigMap").values()):
        assert not [key for key in data if re.search("TOKEN|KEY|PASSWORD|DATABASE_URL|RABBITMQ_URL", key)]
        assert not [value for value in data.values() if "@" in value]
    assert not [each for each in containers(EXAMPLE) if "env" in each]


# ---------------------------------------------------------------- the services


@every_service
def test_what_is_set_are_settings(name: str) -> None:
    """A misspelt variable would be ignored in silence; what all three share, each of them reads."""
    assert set(environment(name)) <= variables_of(name)
    assert set(environment(name, BASE)) == set(environment(name))


@every_service
def test_the_secret_is_what_make_secrets_makes(name: str, secrets: Path) -> None:
    """No more, no less; each file but the certificate is a setting, and none is in a ConfigMap as well."""
    keys = secret_keys(name)
    assert sorted(keys) == sorted(path.name for path in (secrets / name).iterdir())
    assert set(keys) - {"ca.crt"} <= variables_of(name) - set(environment(name))


@every_service
def test_the_service_starts_with_that(
    name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its settings are valid, it listens to others on the port that is named, and the registry is guarded."""
    settings = settings_as_in_the_pod(name, secrets, monkeypatch, tmp_path)
    assert getattr(settings, f"{name}_host") == "0.0.0.0"
    [port] = container(name)["ports"]
    assert port == {"name": "http", "containerPort": getattr(settings, f"{name}_port")}
    assert port["containerPort"] == HTTP_PORTS[name]
    assert getattr(settings, "pull_sync_networks") == {"public"}  # noqa: B009 - of three classes
    if isinstance(settings, RegistrySettings):
        assert settings.operator_tokens
        assert settings.registration_tokens
        require_guard(settings)


def settings_as_in_the_pod(
    name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> ServiceSettings:
    """The settings as the service reads them there, but for where the folder of secrets is."""
    [mount] = [each for each in container(name)["volumeMounts"] if each["name"] == "secrets"]
    assert mount == {"name": "secrets", "mountPath": "/run/secrets", "readOnly": True}
    monkeypatch.chdir(tmp_path)  # there is no .env
    for variable, value in environment(name).items():
        monkeypatch.setenv(variable, value.replace("/run/secrets/", f"{secrets / name}/"))
    return settings_of(name)(_secrets_dir=secrets / name)


def test_the_puller_calls_the_registry_by_its_service() -> None:
    """By the name and the port that it has in the cluster."""
    service = named(BASE, "Service")["registry"]
    [port] = service["spec"]["ports"]
    assert environment("puller")["BACKEND_URL"] == f"http://registry:{port['port']}"
    assert port["targetPort"] == container("registry")["ports"][0]["name"]
    assert service["spec"].get("type", "ClusterIP") == "ClusterIP"


@every_service
def test_each_container_is_the_one_image_as_compose_starts_it(name: str) -> None:
    """Chosen by its command; the example names one version of it, which is today's."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"][name]
    assert container(name)["command"] == compose["command"]
    assert container(name)["image"] == "pullsync"
    assert container(name, EXAMPLE)["image"] == f"registry.example.org/pullsync:{VERSION}"


@every_service
def test_each_probe_asks_what_the_service_answers(name: str) -> None:
    """Whether it is alive, so that it is not restarted while a server is away; and whether it is ready."""
    here = container(name)
    probes = {kind: here[f"{kind}Probe"] for kind in ("liveness", "readiness")}
    assert {kind: probe["httpGet"] for kind, probe in probes.items()} == {
        "liveness": {"path": "/health/live", "port": "http"},
        "readiness": {"path": "/health/ready", "port": "http"},
    }
    answered = {route.path for route in Health(checks={}).routes()}
    if name == "registry":
        answered = {path for path, method, _ in operations(registry_document()) if method == "get"}
    assert {probe["httpGet"]["path"] for probe in probes.values()} <= answered
    assert all(probe["timeoutSeconds"] >= 3 for probe in probes.values())
    assert "startupProbe" not in here  # it is alive from the first moment on


@every_service
def test_no_pod_has_more_rights_than_it_needs(name: str) -> None:
    """As in compose: nobody is root, nothing is written but below /tmp, no capability; and no token of the cluster."""
    here = pod(name)
    assert here["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10_001,
        "runAsGroup": 10_001,
        "fsGroup": 10_001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert here["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(here)
    writable = [each["mountPath"] for each in container(name)["volumeMounts"] if not each.get("readOnly")]
    assert writable == ["/tmp"]  # noqa: S108 - of the container
    [kinds] = [set(volume) - {"name"} for volume in here["volumes"] if volume["name"] == "tmp"]
    assert kinds == {"emptyDir"}
    assert [each["secret"]["defaultMode"] for each in here["volumes"] if "secret" in each] == [0o440]
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


@every_service
def test_no_variable_comes_from_elsewhere(name: str) -> None:
    """Kubernetes would set REGISTRY_PORT to an URL for each pod beside a Service of that name."""
    assert pod(name)["enableServiceLinks"] is False


@every_service
def test_a_pod_has_the_time_to_stop_that_compose_gives(name: str) -> None:
    """After what it waits before; only the registry is called, so it alone waits until nobody does."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"][name]
    waits = container(name).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert (waits > 0) == (name == "registry")
    assert pod(name)["terminationGracePeriodSeconds"] - waits == int(compose["stop_grace_period"].removesuffix("s"))


@every_service
def test_each_container_is_bounded(name: str) -> None:
    """It gets the 200 MB below which each service stays (docs/performance.md), and has bounds."""
    resources = container(name)["resources"]
    assert set(resources["limits"]) == set(resources["requests"]) == {"cpu", "memory"}
    asked, most = mib(resources["requests"]["memory"]), mib(resources["limits"]["memory"])
    assert 200 <= asked < most
    assert cores(resources["requests"]["cpu"]) < cores(resources["limits"]["cpu"])
    assert cores(resources["limits"]["cpu"]) > 1  # a process takes one, and a little more


def mib(text: str) -> int:
    """Of memory."""
    return int(text[:-2]) * MIB[text[-2:]]


def cores(text: str) -> float:
    """Of CPU."""
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


# ---------------------------------------------------------------- together


@every_service
def test_all_that_selects_a_service_selects_its_pods(name: str) -> None:
    """And no others: the Deployment, how it is spread, its budget, its policy, and the registry's Service."""
    spec = named(BASE, "Deployment")[name]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "pullsync"}
    selectors = [spec["selector"], *(each["labelSelector"] for each in pod(name)["topologySpreadConstraints"])]
    selectors.append(named(BASE, "PodDisruptionBudget")[name]["spec"]["selector"])
    selectors.append(named(BASE, "NetworkPolicy")[name]["spec"]["podSelector"])
    assert selectors == [{"matchLabels": labels}] * 5
    if name == "registry":
        assert named(BASE, "Service")[name]["spec"]["selector"] == labels


@every_service
def test_a_service_stays_while_pods_go(name: str) -> None:
    """There are two, on two machines where there are two, of which one at most is taken away; also when all wait."""
    assert named(BASE, "Deployment")[name]["spec"]["replicas"] == 2
    assert named(BASE, "Deployment")[name]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = named(BASE, "PodDisruptionBudget")[name]["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    spread = [each["topologyKey"] for each in pod(name)["topologySpreadConstraints"]]
    assert spread == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


# ---------------------------------------------------------------- the network


def matches(policy: Manifest, name: str) -> bool:
    """Whether a NetworkPolicy is about the pods of a service."""
    labels = named(BASE, "Deployment")[name]["spec"]["template"]["metadata"]["labels"]
    return set(policy["spec"]["podSelector"]["matchLabels"].items()) <= set(labels.items())


def rules(name: str, direction: str, objects: list[Manifest] = BASE) -> list[Manifest]:
    """What is allowed for a service, to or from its pods."""
    policies = [each for each in named(objects, "NetworkPolicy").values() if matches(each, name)]
    assert any(direction.title() in each["spec"]["policyTypes"] for each in policies)
    return [rule for each in policies for rule in each["spec"].get(direction, ())]


@every_service
def test_nobody_reaches_a_pod_but_pullers_the_registry(name: str) -> None:
    """In the base; each pod is under a policy, so what is not allowed is not."""
    puller = {"app.kubernetes.io/name": "puller", "app.kubernetes.io/part-of": "pullsync"}
    allowed = {"from": [{"podSelector": {"matchLabels": puller}}], "ports": [{"port": "http"}]}
    assert rules(name, "ingress") == ([allowed] if name == "registry" else [])


@every_service
def test_the_example_lets_in_who_is_named_and_nobody_else(name: str) -> None:
    """Prometheus everywhere, the ingress controller at the registry; always at the one port."""
    added = [rule for rule in rules(name, "ingress", EXAMPLE) if rule not in rules(name, "ingress")]
    spaces = [each["namespaceSelector"]["matchLabels"] for rule in added for each in rule["from"]]
    found = {each["kubernetes.io/metadata.name"] for each in spaces}
    assert found == ({"traefik", "monitoring"} if name == "registry" else {"monitoring"})
    assert all(rule["ports"] == [{"port": "http"}] for rule in added)


@every_service
def test_each_service_reaches_its_servers_and_no_others(name: str, secrets: Path) -> None:
    """At the ports of the URLs that it has."""
    anywhere = {each["port"] for rule in rules(name, "egress") if "to" not in rule for each in rule["ports"]}
    urls = [(secrets / name / key).read_text(encoding="utf-8") for key in secret_keys(name) if key.endswith("_URL")]
    assert anywhere == {int(re.search(r":(\d+)/", url)[1]) for url in urls}  # type: ignore[index] # each has a port
    pods = [
        each["podSelector"] for rule in rules(name, "egress") for each in rule.get("to", ()) if "podSelector" in each
    ]
    registry = {"app.kubernetes.io/name": "registry", "app.kubernetes.io/part-of": "pullsync"}
    assert pods == ([{"matchLabels": registry}] if name == "puller" else [])


@every_service
def test_clients_are_reached_where_the_services_call_them(name: str) -> None:
    """All that is public, by both families; and what is left out is nothing that the services would call."""
    blocks = [each["ipBlock"] for rule in rules(name, "egress") for each in rule.get("to", ()) if "ipBlock" in each]
    assert [each["cidr"] for each in blocks] == ["0.0.0.0/0", "::/0"]
    policy = OutboundPolicy(networks=frozenset({"public"}))
    left_out = [network.partition("/")[0] for block in blocks for network in block["except"]]
    assert len(left_out) == 9
    assert [address for address in left_out if policy.permits(address)] == []
    assert {"10.0.0.0", "169.254.0.0", "172.16.0.0", "192.168.0.0", "fc00::"} <= set(left_out)


def test_the_ingress_leads_to_the_registry_by_https() -> None:
    """For the names that the certificate is for."""
    spec = named(EXAMPLE, "Ingress")["registry"]["spec"]
    [rule] = spec["rules"]
    [path] = rule["http"]["paths"]
    assert [each["hosts"] for each in spec["tls"]] == [[rule["host"]]]
    assert path["backend"]["service"] == {"name": "registry", "port": {"name": "http"}}
    assert named(BASE, "Service")["registry"]["spec"]["ports"][0]["name"] == "http"
    assert (path["path"], path["pathType"]) == ("/", "Prefix")


# ---------------------------------------------------------------- as many as there is work


def test_who_is_scaled_has_no_number_of_its_own() -> None:
    """Else each `kubectl apply` would set it back; each who is scaled is there, and the registry is not."""
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in named(EXAMPLE, "ScaledObject").values()}
    assert scaled == {"puller", "ingest"}
    numbered = {name for name, each in named(EXAMPLE, "Deployment").items() if "replicas" in each["spec"]}
    assert numbered == set(SERVICES) - scaled
    for each in named(EXAMPLE, "ScaledObject").values():
        assert 2 <= each["spec"]["minReplicaCount"] < each["spec"]["maxReplicaCount"]


def test_ingest_is_scaled_by_its_queue() -> None:
    """By the name that it has, asked of RabbitMQ with a Secret that is referred to."""
    [trigger] = named(EXAMPLE, "ScaledObject")["ingest"]["spec"]["triggers"]
    assert trigger["type"] == "rabbitmq"
    assert trigger["metadata"]["queueName"] == CAPTURE_BATCHES.name
    authentication = named(EXAMPLE, "TriggerAuthentication")[trigger["authenticationRef"]["name"]]
    [reference] = authentication["spec"]["secretTargetRef"]
    assert reference == {"parameter": "host", "name": "pullsync-autoscaling", "key": "RABBITMQ_MANAGEMENT_URL"}
    assert "pullsync-autoscaling" in (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")


def test_ingests_are_no_more_than_postgres_has_connections_for() -> None:
    """That of each migration at a start included."""
    most = named(EXAMPLE, "ScaledObject")["ingest"]["spec"]["maxReplicaCount"]
    pool = import_module("services.ingest.app")._POOL_SIZE  # noqa: SLF001 - what it takes of PostgreSQL
    roles = (ROOT / "deploy" / "postgres" / "roles.sql").read_text(encoding="utf-8")
    [limit] = re.findall(r"\('pullsync_ingest', 'captures', (\d+)\)", roles)
    assert most * (pool + 1) <= int(limit)


def test_pullers_are_scaled_by_how_late_they_are() -> None:
    """While the scheduler runs; and kept as long as they have work. The threshold is below the shortest interval."""
    lag, cpu = named(EXAMPLE, "ScaledObject")["puller"]["spec"]["triggers"]
    assert lag["metadata"]["query"] == "max(pullsync_schedule_lag_seconds) * max(pullsync_scheduler_running)"
    assert set(re.findall(r"pullsync_\w+", lag["metadata"]["query"])) <= OURS["gauge"]
    assert (lag["type"], lag["metricType"], lag["metadata"]["ignoreNullValues"]) == ("prometheus", "Value", "false")
    assert float(lag["metadata"]["threshold"]) < RegistrySettings().pull_sync_interval
    assert (cpu["type"], cpu["metricType"], cpu["metadata"]["value"]) == ("cpu", "AverageValue", "600m")
