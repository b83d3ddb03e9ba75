"""What to do about a client that can't be pulled, by its last `shared.contracts.messages.Reason`."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from shared.contracts.messages import Reason

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

_REMEDIES: Final = {
    Reason.TIMEOUT: "It takes connections and is too slow, or a firewall swallows them: look at its load and the "
    "network, or give it longer by PULL_SYNC_TIMEOUT.",
    Reason.CONNECT: "Nothing answers there: does the client run, at that port? Names and addresses are those that "
    "the puller sees. A client that has moved registers again by itself when it starts.",
    Reason.TLS: "Its certificate is not believed or has run out: renew it, or name its authority in PULL_SYNC_CA_FILE.",
    Reason.HTTP_STATUS: "It refuses the request: its own log says why. For 401 and 403 its pull token is another one "
    "than the puller's: it gets the right one when it registers again (restart it); PULL_TOKEN_KEYS must be the same "
    "for registry, puller and ingest.",
    Reason.TOO_LARGE: "Its answer is larger than PULL_SYNC_BODY_LIMIT_BYTES: let it answer in pages (`limit`, "
    "docs/client-protocol.md), or raise the limit.",
    Reason.BAD_PAYLOAD: "What it answers is not the protocol (docs/client-protocol.md): is it a PullSync client, and "
    "one without a proxy or a login page before it?",
    Reason.WRONG_USER: "Another user's client answers there: each client registers with its own user and address "
    "(CLIENT_USER_ID, CLIENT_URL).",
    Reason.FORBIDDEN_ADDRESS: "The policy does not let the puller call there: PULL_SYNC_NETWORKS and PULL_SYNC_PORTS "
    "of registry, puller and ingest say what is allowed.",
    Reason.PUBLISH: "RabbitMQ did not take what was pulled: see the broker and its queues above. Nothing is lost; the "
    "client still has it.",
    Reason.UNACKNOWLEDGED: "All is stored, but the client could not be told: it sends the same again, which does no "
    "harm. If it lasts, look at its POST /api/client/acknowledge.",
    Reason.UNREGISTERED: "It was removed while it was pulled: it comes back when it registers again.",
    Reason.CANCELLED: "The run that asked for it was cancelled: there is nothing to do.",
    Reason.PAUSED: "It was paused while it was pulled: pullsync resume USER.",
}
_UNKNOWN: Final = "This reason is newer than this program: see docs/client-protocol.md of the registry's version."


def remedy(reason: str, client_url: str | None = None) -> str:
    """What to do; where the address is one that means another machine for each, that first."""
    said = _REMEDIES[Reason(reason)] if reason in set(Reason) else _UNKNOWN
    if reason in {Reason.CONNECT, Reason.TIMEOUT} and client_url and urlsplit(client_url).hostname in LOOPBACK:
        return (
            f"{client_url} is the puller's own machine (or container). Where the client is on another, set its "
            f"CLIENT_URL to an address that the puller reaches, and restart it.\n{said}"
        )
    return said
