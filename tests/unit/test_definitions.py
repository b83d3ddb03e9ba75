"""The rights in RabbitMQ's definitions are what the messages between the services need; the script adds passwords."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from base64 import b64decode
from typing import Any, Final

import pytest

from dev.asyncapi import FLOWS
from dev.definitions import DEFINITIONS, importable, users
from shared.contracts.topology import ACKNOWLEDGE_DELAYS_S, ACKNOWLEDGEMENTS, BINDINGS, WORK_QUEUES, delay_routing_key

FILE: Final = json.loads(DEFINITIONS.read_text(encoding="utf-8"))
SERVICES: Final = ("registry", "puller", "ingest")
QUEUES: Final = {queue.name for _, queue in BINDINGS}
ROUTING_KEYS: Final = {queue.routing() for exchange, queue in BINDINGS if exchange.name == "pullsync"}
PASSWORDS: Final = {
    "REGISTRY_RABBITMQ_PASSWORD": "one",
    "PULLER_RABBITMQ_PASSWORD": "a b\"c'd\\e$f&g/h`i",
    "INGEST_RABBITMQ_PASSWORD": "Pikachū ⚡",
    "MONITORING_RABBITMQ_PASSWORD": "four",
}

every_service = pytest.mark.parametrize("service", SERVICES)


def rights(section: str, service: str) -> dict[str, Any]:
    """Those of a service's user."""
    [entry] = [entry for entry in FILE[section] if entry["user"] == f"pullsync_{service}"]
    return dict(entry)


def matching(pattern: str, names: set[str]) -> set[str]:
    r"""Those that RabbitMQ finds the pattern in; it does not anchor it. Its end, `\z`, is `\Z` in Python."""
    return {name for name in names if re.search(pattern.replace(r"\z", r"\Z"), name)}


@every_service
def test_a_service_reads_what_it_receives(service: str) -> None:
    """And the registry the dead letters, which it shows and replays."""
    received = {flow.queue.name for flow in FLOWS if flow.receiver == service}
    dead = {f"{queue.name}.dead" for queue in WORK_QUEUES} if service == "registry" else set()
    assert matching(rights("permissions", service)["read"], QUEUES) == received | dead


@every_service
def test_a_service_writes_what_it_sends(service: str) -> None:
    """What it receives, too, since a message that is held for long is replaced by a copy; the registry replays all."""
    own = {flow.queue for flow in FLOWS if service in flow.senders or flow.receiver == service}
    keys = {queue.routing() for queue in (WORK_QUEUES if service == "registry" else own)}
    delays = {delay_routing_key(delay_s) for delay_s in ACKNOWLEDGE_DELAYS_S}
    topic = rights("topic_permissions", service)
    assert topic["exchange"] == "pullsync"
    assert matching(topic["write"], ROUTING_KEYS) == keys | (delays if service == "ingest" else set())
    others = {"pullsync.dead", "amq.default", "amq.topic", "amq.direct", "amq.fanout", *QUEUES}
    assert matching(rights("permissions", service)["write"], {"pullsync", *others}) == {"pullsync"}


@every_service
def test_a_service_declares_nothing_but_the_locks_of_dead_letters(service: str) -> None:
    """Those are the registry's."""
    locks = {f"{queue.name}.dead.looking" for queue in WORK_QUEUES}
    names = {"", "pullsync", "pullsync.dead", "amq.gen-x", "x.dead.looking", *QUEUES, *locks}
    found = matching(rights("permissions", service)["configure"], names) - {""}
    assert found == (locks if service == "registry" else set())


def test_every_pattern_is_a_whole_name() -> None:
    """Without anchors a right would reach every name that contains it."""
    patterns = [entry[right] for entry in FILE["permissions"] for right in ("configure", "write", "read")]
    patterns += [entry[right] for entry in FILE["topic_permissions"] for right in ("write", "read")]
    names = {"pullsync", *QUEUES, *ROUTING_KEYS, *(f"{queue.name}.dead.looking" for queue in WORK_QUEUES)}
    longer = {f"x{name}" for name in names} | {f"{name}x" for name in names} | {"x" + name + "x" for name in names}
    longer |= {"\n"} | {f"{name}\n" for name in names}
    assert all(matching(pattern, longer - names) == set() for pattern in patterns)


def test_only_the_monitoring_user_has_a_tag() -> None:
    """Nobody is an administrator. Who looks must be let into the virtual host to see it, and touches nothing there."""
    tags = {user["name"]: user["tags"] for user in FILE["users"] if user["tags"]}
    assert tags == {"pullsync_monitoring": ["monitoring"]}
    names = {"amq.default", "pullsync", "pullsync.dead", *QUEUES}
    for right in ("configure", "write", "read"):
        assert matching(rights("permissions", "monitoring")[right], names) == set()


def test_an_acknowledgement_is_sent_by_ingest_alone() -> None:
    """Whoever else could would have clients forget what is not stored; the registry replays those that died."""
    who = {
        service
        for service in SERVICES
        if matching(rights("topic_permissions", service)["write"], {ACKNOWLEDGEMENTS.routing()})
    }
    assert who == {"ingest", "registry"}


def is_of(password: str, password_hash: str) -> bool:
    """Whether RabbitMQ takes the password."""
    raw = b64decode(password_hash, validate=True)
    return raw[4:] == hashlib.sha256(raw[:4] + password.encode()).digest()


def filled_in(**environment: str) -> subprocess.CompletedProcess[str]:
    """What the script does with that environment."""
    script = [str(DEFINITIONS.with_name("definitions.sh"))]
    return subprocess.run(  # noqa: S603 - ours
        script, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True, check=False
    )


def test_the_script_fills_in_the_passwords_as_hashes() -> None:
    """Of any characters; the rest is as it stands in the file, and no password is shown."""
    done = filled_in(**PASSWORDS)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    for user, template in zip(found["users"], FILE["users"], strict=True):
        assert is_of(PASSWORDS[template["password_hash"]], user.pop("password_hash"))
        assert user.items() <= template.items()
    assert {**found, "users": []} == {**FILE, "users": []}


def test_the_script_salts_each_hash() -> None:
    """The same password twice does not show."""
    found = json.loads(filled_in(**dict.fromkeys(PASSWORDS, "same")).stdout)
    assert len({user["password_hash"] for user in found["users"]}) == len(FILE["users"])


def test_the_script_reads_secret_files(tmp_path: Any) -> None:
    """The file wins; its last line end is not part of the password."""
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    done = filled_in(**PASSWORDS, PULLER_RABBITMQ_PASSWORD_FILE=str(secret))
    [puller] = [user for user in json.loads(done.stdout)["users"] if user["name"] == "pullsync_puller"]
    assert is_of("from a file", puller["password_hash"])


@pytest.mark.parametrize("name", PASSWORDS)
@pytest.mark.parametrize(
    "value",
    [{}, {"": ""}, {"_FILE": "/nonexistent"}, {"_FILE": "/dev/null"}],
    ids=["missing", "empty", "no file", "empty file"],
)
def test_the_script_ends_without_a_password(name: str, value: dict[str, str]) -> None:
    """Nothing is printed that could be imported, and the message names the variable."""
    others = {variable: password for variable, password in PASSWORDS.items() if variable != name}
    done = filled_in(**others, **{f"{name}{suffix}": text for suffix, text in value.items()})
    assert done.returncode != 0
    assert done.stdout == ""
    assert "/nonexistent" in done.stderr or f"set {name}, or {name}_FILE" in done.stderr


def test_definitions_without_passwords_can_not_be_imported() -> None:
    """What stands in their places is no base64, so RabbitMQ refuses it instead of making users without passwords."""
    for user in FILE["users"]:
        with pytest.raises(ValueError, match="base64"):
            b64decode(user["password_hash"], validate=True)


def test_definitions_are_moved_to_a_virtual_host() -> None:
    """All of them, with hashes of their passwords."""
    made = importable(vhost="test", passwords={name: f"of {name}" for name in users()})
    for section in ("permissions", "topic_permissions", "exchanges", "queues", "bindings"):
        assert {entry["vhost"] for entry in made[section]} == {"test"}
        assert len(made[section]) == len(FILE[section])
    assert made["vhosts"] == [{"name": "test"}]
    assert all(is_of(f"of {user['name']}", user["password_hash"]) for user in made["users"])
