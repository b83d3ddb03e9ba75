r"""RabbitMQ's definitions: `deploy/rabbitmq/definitions.json`.

Users and their rights stand there, written by hand; exchanges, queues and bindings are written by `make docs`, from
`shared.contracts.topology`. Where a user's password belongs stands the name of a variable
(deploy/rabbitmq/definitions.sh). A right is a pattern of Erlang's that ends in `\z`: `$` would let a
name with a line break behind it pass.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from shared.contracts.topology import BINDINGS, DEAD_LETTERS, EXCHANGE

DEFINITIONS: Final = Path(__file__).parents[1] / "deploy" / "rabbitmq" / "definitions.json"
_VHOST: Final = "/"
_SALT_BYTES: Final = 4

Json = dict[str, Any]


def document() -> Json:
    """The users and rights of the file, with the topology of the code."""
    return {
        **_kept(),
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": _VHOST,
                "type": exchange.type.value,
                "durable": exchange.durable,
                "auto_delete": exchange.auto_delete,
                "internal": False,
                "arguments": {},
            }
            for exchange in (EXCHANGE, DEAD_LETTERS)
        ],
        "queues": [
            {
                "name": queue.name,
                "vhost": _VHOST,
                "durable": queue.durable,
                "auto_delete": queue.auto_delete,
                "arguments": dict(sorted((queue.arguments or {}).items())),
            }
            for _, queue in BINDINGS
        ],
        "bindings": [
            {
                "source": exchange.name,
                "vhost": _VHOST,
                "destination": queue.name,
                "destination_type": "queue",
                "routing_key": queue.routing(),
                "arguments": {},
            }
            for exchange, queue in BINDINGS
        ],
    }


def users() -> Sequence[str]:
    """The names of all users."""
    return [user["name"] for user in _kept()["users"]]


def importable(*, vhost: str, passwords: Mapping[str, str]) -> Json:
    """What can be imported: for that virtual host, with each user's password."""
    found = _kept()
    for section in ("permissions", "topic_permissions", "exchanges", "queues", "bindings"):
        found[section] = [{**entry, "vhost": vhost} for entry in found[section]]
    found["vhosts"] = [{"name": vhost}]
    found["users"] = [{**user, "password_hash": _hashed(passwords[user["name"]])} for user in found["users"]]
    return found


def _kept() -> Json:
    kept: Json = json.loads(DEFINITIONS.read_text(encoding="utf-8"))
    return kept


def _hashed(password: str) -> str:
    """As RabbitMQ has it: base64 of a salt and of the SHA-256 of salt and password."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
