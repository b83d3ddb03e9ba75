"""`make secrets`: a whole set, each value where it is needed and nowhere else, and nothing that is there is changed."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from dev.certificates import Authority, has_signed, names_of
from dev.first_secrets import FOLDER, OWNERS, SecretFolder, main
from services.ingest.settings import IngestSettings
from services.puller.settings import PullerSettings
from services.registry.settings import RegistrySettings
from shared.secret_files import given_in
from shared.settings import ServiceSettings

HOSTS = ("pullsync.example.org", "203.0.113.7")
TOKEN = re.compile(r"[A-Za-z0-9_-]{32,}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A complete set."""
    made = SecretFolder(tmp_path / "secrets")
    made.complete(HOSTS)
    assert made.problems == []
    assert made.kept == []
    return made.root


def again(root: Path, hosts: tuple[str, ...] = HOSTS) -> SecretFolder:
    """What a further run makes and says."""
    folder = SecretFolder(root)
    folder.complete(hosts)
    return folder


def contents(root: Path) -> dict[str, str]:
    """Each file and what is in it."""
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def certificate(root: Path, server: str) -> x509.Certificate:
    """That of a server."""
    return x509.load_pem_x509_certificate((root / server / "server.crt").read_bytes())


def test_git_ignores_them() -> None:
    """They are made in a folder at the top of the checkout, and never come into a commit."""
    assert "/secrets/" in (FOLDER.parent / ".gitignore").read_text().splitlines()
    assert FOLDER.name == "secrets"


def test_nobody_else_can_read_them(root: Path) -> None:
    """Files are 0600, folders 0700."""
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (root, *root.rglob("*"))}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_they_belong_to_whom_the_container_runs_as(root: Path) -> None:
    """When root makes them; else to whoever did."""
    root_made = os.geteuid() == 0
    for path in root.rglob("*"):
        folder = path.relative_to(root).parts[0]
        assert path.stat().st_uid == (OWNERS.get(folder, 0) if root_made else os.geteuid())


def test_tokens_are_long_random_and_safe_in_urls(root: Path) -> None:
    """No two values are the same by chance, and each scope has a token of its own."""
    operators = (root / "registry" / "OPERATOR_TOKENS").read_text().split()
    assert [line.partition(":")[0] for line in operators] == ["read", "operate", "admin"]
    values = [line.partition(":")[2] for line in operators]
    for name in ("registry/REGISTRATION_TOKENS", "registry/SERVICE_TOKENS", "registry/PULL_TOKEN_KEYS"):
        values += (root / name).read_text().split()
    shared = root / "postgres-exporter" / "MONITORING_DATABASE_PASSWORD"
    values += [path.read_text().strip() for path in root.rglob("*_PASSWORD") if path != shared]
    values += [(root / "client" / "CLIENT_METRICS_TOKENS").read_text().strip()]
    assert len(set(values)) == len(values) == 6 + 10
    assert [value for value in values if not TOKEN.fullmatch(value)] == []
    assert not set(values) & set(SecretFolder(root / "other").root.glob("*"))


def test_two_sets_have_nothing_in_common(root: Path, tmp_path: Path) -> None:
    """All that is secret is made anew."""
    other = SecretFolder(tmp_path / "other")
    other.complete(HOSTS)
    assert not set(contents(root).values()) & set(contents(other.root).values())


def test_each_service_has_what_it_needs_and_no_more(root: Path) -> None:
    """What two have is the same."""
    found = contents(root)
    by_service = {
        folder: {name.partition("/")[2] for name in found if name.startswith(f"{folder}/")} for folder in OWNERS
    }
    both = {"ca.crt", "RABBITMQ_URL", "PULL_TOKEN_KEYS"}
    assert by_service["registry"] == {
        *both,
        "DATABASE_URL",
        "OPERATOR_TOKENS",
        "RABBITMQ_MANAGEMENT_URL",
        "REGISTRATION_TOKENS",
        "SERVICE_TOKENS",
    }
    assert by_service["puller"] == {*both, "SERVICE_TOKENS"}
    assert by_service["ingest"] == {*both, "DATABASE_URL"}
    assert by_service["client"] == {"ca.crt", "CLIENT_REGISTRATION_TOKEN", "CLIENT_METRICS_TOKENS"}
    assert by_service["front"] == {"server.crt", "server.key"}
    assert by_service["prometheus"] == {"METRICS_TOKEN", "CLIENT_METRICS_TOKEN"}
    assert by_service["postgres-exporter"] == {"ca.crt", "MONITORING_DATABASE_PASSWORD"}
    assert by_service["grafana"] == {"GRAFANA_PASSWORD"}
    shared = ("SERVICE_TOKENS", "PULL_TOKEN_KEYS", "ca.crt", "MONITORING_DATABASE_PASSWORD")
    for name in shared:
        assert len({text for path, text in found.items() if path.endswith(f"/{name}")}) == 1
    assert found["client/CLIENT_REGISTRATION_TOKEN"] == found["registry/REGISTRATION_TOKENS"]
    assert found["prometheus/CLIENT_METRICS_TOKEN"] == found["client/CLIENT_METRICS_TOKENS"]
    assert sum("PRIVATE KEY" in text for text in found.values()) == 4


def test_prometheus_may_look_and_no_more(root: Path) -> None:
    """Its token is that of the registry's operators with the scope `read`, wherever it stands."""
    operators = root / "registry" / "OPERATOR_TOKENS"
    tokens = dict(line.split(":") for line in operators.read_text().split())
    assert (root / "prometheus" / "METRICS_TOKEN").read_text() == f"{tokens['read']}\n"
    (root / "prometheus" / "METRICS_TOKEN").unlink()
    operators.write_text(f"admin:{tokens['admin']}\nread:{'x' * 32}\n")
    assert again(root).problems == []
    assert (root / "prometheus" / "METRICS_TOKEN").read_text() == f"{'x' * 32}\n"


def test_no_token_that_may_look_is_told(root: Path) -> None:
    """Prometheus gets none that may do more."""
    (root / "prometheus" / "METRICS_TOKEN").unlink()
    (root / "registry" / "OPERATOR_TOKENS").write_text(f"admin:{'x' * 32}\n")
    [problem] = again(root).problems
    assert "registry/OPERATOR_TOKENS has no line read:<token>, which Prometheus needs: add one" in problem
    assert not (root / "prometheus" / "METRICS_TOKEN").exists()


def test_a_token_that_the_registry_does_not_take_is_told(root: Path) -> None:
    """One that an operator has replaced, or one that may do more."""
    admin = (root / "registry" / "OPERATOR_TOKENS").read_text().split()[-1].removeprefix("admin:")
    (root / "prometheus" / "METRICS_TOKEN").write_text(f"{admin}\n")
    [problem] = again(root).problems
    assert "prometheus/METRICS_TOKEN is no token of " in problem
    assert problem.endswith("remove it, and run `make secrets` again")


@pytest.mark.parametrize("settings", [RegistrySettings, PullerSettings, IngestSettings])
def test_services_take_them(
    settings: type[ServiceSettings], root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """URLs speak TLS, verify who answers, and have the password of their role and user."""
    monkeypatch.chdir(tmp_path)
    service = settings.__name__.removesuffix("Settings").lower()
    given_in(root / service, settings.model_fields)
    monkeypatch.setenv("TLS_CA_FILE", str(root / service / "ca.crt"))
    urls = settings(_secrets_dir=root / service).model_dump()
    broker = urlsplit(urls["rabbitmq_url"])
    assert (broker.scheme, broker.username, broker.port) == ("amqps", f"pullsync_{service}", 5671)
    assert broker.password == (root / "rabbitmq" / f"{service.upper()}_RABBITMQ_PASSWORD").read_text().strip()
    if "rabbitmq_management_url" in urls:
        management = urlsplit(urls["rabbitmq_management_url"])
        assert (management.scheme, management.username, management.port) == ("https", "pullsync_monitoring", 15671)
        assert management.password == (root / "rabbitmq" / "MONITORING_RABBITMQ_PASSWORD").read_text().strip()
    if "database_url" in urls:
        database = urlsplit(urls["database_url"])
        assert (database.username, database.query) == (f"pullsync_{service}", "sslmode=verify-full")
        assert database.password == (root / "postgres" / f"{service.upper()}_DATABASE_PASSWORD").read_text().strip()


@pytest.mark.parametrize(
    ("server", "names"),
    [
        ("postgres", {"postgres", "localhost", "127.0.0.1", "::1"}),
        ("rabbitmq", {"rabbitmq", "localhost", "127.0.0.1", "::1"}),
        ("front", {"front", "localhost", "127.0.0.1", "::1", *HOSTS}),
    ],
)
def test_servers_have_certificates_of_the_one_authority(root: Path, server: str, names: set[str]) -> None:
    """For the names by which they are reached, and for about a year."""
    found, pair = certificate(root, server), (root / "ca" / "ca.crt", root / "ca" / "ca.key")
    assert names_of(found) == names
    assert has_signed(Authority.from_pem(*(path.read_text() for path in pair)).certificate, found)
    left = found.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=390) < left < timedelta(days=398)
    addresses = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ipaddress.ip_address("127.0.0.1") in addresses.get_values_for_type(x509.IPAddress)


def test_what_is_there_is_kept(root: Path) -> None:
    """A second run makes nothing and finds nothing wrong."""
    before = contents(root)
    folder = again(root)
    assert contents(root) == before
    assert (folder.made, folder.problems) == ([], [])
    assert {str(path.relative_to(root)) for path in folder.kept} == set(before)


def test_what_is_missing_is_made_to_fit(root: Path) -> None:
    """A copy of a shared value, a URL of its password, a certificate by the authority that is there."""
    before = contents(root)
    for name in ("puller/SERVICE_TOKENS", "ingest/DATABASE_URL", "client/CLIENT_REGISTRATION_TOKEN"):
        (root / name).unlink()
    (root / "front" / "server.crt").unlink()
    (root / "registry" / "REGISTRATION_TOKENS").write_text("mine-" + "x" * 32 + "\nolder\n")
    folder = again(root)
    after = contents(root)
    assert len(folder.made) == 5
    assert folder.problems == []
    assert after["puller/SERVICE_TOKENS"] == before["puller/SERVICE_TOKENS"]
    assert after["ingest/DATABASE_URL"] == before["ingest/DATABASE_URL"]
    assert after["client/CLIENT_REGISTRATION_TOKEN"] == "mine-" + "x" * 32 + "\n"
    assert after["front/server.crt"] != before["front/server.crt"]
    assert again(root).problems == []


def test_values_that_differ_are_told(root: Path) -> None:
    """By name, and left as they are."""
    (root / "puller" / "SERVICE_TOKENS").write_text("another\n")
    folder = again(root)
    assert folder.problems == ["SERVICE_TOKENS differs between registry and puller: copy the right one to the others"]
    assert (root / "puller" / "SERVICE_TOKENS").read_text() == "another\n"


def test_a_password_that_one_side_lacks_is_told(root: Path) -> None:
    """As when one half of a pair was removed, and made anew."""
    (root / "rabbitmq" / "PULLER_RABBITMQ_PASSWORD").unlink()
    folder = again(root)
    assert [path.name for path in folder.made] == ["PULLER_RABBITMQ_PASSWORD"]
    [problem] = folder.problems
    assert str(root / "puller" / "RABBITMQ_URL") in problem
    (root / "puller" / "RABBITMQ_URL").unlink()
    assert again(root).problems == []


def test_an_empty_file_is_told(root: Path) -> None:
    """What would be made of it can't be."""
    (root / "registry" / "REGISTRATION_TOKENS").write_text("\n")
    (root / "client" / "CLIENT_REGISTRATION_TOKEN").unlink()
    [problem] = again(root).problems
    assert str(root / "registry" / "REGISTRATION_TOKENS") in problem
    assert "is empty" in problem


def test_a_certificate_that_is_of_no_use_is_told(root: Path) -> None:
    """Soon too old, of another authority, without a name, no certificate; each with what to do."""
    authority = Authority.from_pem(*((root / "ca" / name).read_text() for name in ("ca.crt", "ca.key")))
    soon = authority.issue(["postgres", "localhost", "127.0.0.1", "::1"], until=datetime.now(UTC) + timedelta(days=9))
    (root / "postgres" / "server.crt").write_text(soon.certificate)
    foreign = Authority.new("another").issue(["rabbitmq", "localhost", "127.0.0.1", "::1"])
    (root / "rabbitmq" / "server.crt").write_text(foreign.certificate)
    postgres, rabbitmq, front = again(root, hosts=("another.example.org", *HOSTS)).problems
    assert re.search(r"postgres/server.crt is valid until \d{4}-\d\d-\d\d: remove it, and run", postgres)
    assert "rabbitmq/server.crt is not signed by the CA" in rabbitmq
    assert "front/server.crt is not for another.example.org: remove it" in front
    (root / "front" / "server.crt").write_text("nothing")
    assert "front/server.crt, or" in again(root).problems[-1]


def test_an_authority_that_cannot_sign_is_told_when_it_has_to(root: Path) -> None:
    """Its key may be elsewhere, or another one, until a certificate is wanted; no second authority is made."""
    before = contents(root)
    (root / "ca" / "ca.key").unlink()
    assert (again(root).made, again(root).problems) == ([], [])
    (root / "front" / "server.crt").unlink()
    (problem,) = again(root).problems
    assert "front/server.crt can't be made" in problem
    assert "No such file" in problem
    (root / "ca" / "ca.key").write_text(Authority.new("another").key_pem)
    (problem,) = again(root).problems
    assert "the key is not that of the certificate" in problem
    (root / "ca" / "ca.key").write_text(before["ca/ca.key"])
    assert again(root).problems == []
    assert contents(root)["ca/ca.crt"] == before["ca/ca.crt"]


def test_a_service_that_trusts_another_authority_is_told(root: Path) -> None:
    """It may trust more than one."""
    path, other = root / "puller" / "ca.crt", Authority.new("another").certificate_pem
    path.write_text(other + path.read_text())
    assert again(root).problems == []
    path.write_text(other)
    (problem,) = again(root).problems
    assert "puller/ca.crt lacks the CA" in problem


def test_it_says_what_it_made_and_shows_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of files, and what to do next; status 1 when something is wrong."""
    root = tmp_path / "secrets"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["first_secrets", "--folder", str(root), *HOSTS])
    assert main() == 0
    output = capsys.readouterr().out
    for name, text in contents(root).items():
        assert f"made secrets/{name}\n" in output
        assert all(part not in output for line in text.split() for part in TOKEN.findall(line))
    assert "COMPOSE_FILE=docker-compose.yml:docker-compose.tls.yml" in output
    assert ("SECRETS_OWNER" in output) == (os.geteuid() != 0)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert main() == 0
    output = capsys.readouterr().out
    assert output.startswith("0 files made, ")
    assert f"SECRETS_OWNER=1234:{os.getegid()}" in output
    (root / "puller" / "SERVICE_TOKENS").write_text("another\n")
    assert main() == 1
    assert "SERVICE_TOKENS differs" in capsys.readouterr().err
