"""One client in depth: why it does not register, or is not pulled."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from cli.doctor.facts import ClientFacts, ClientProbe, Facts, Json
from cli.doctor.findings import Finding, ok, problem, skipped, warning
from cli.doctor.remedies import remedy
from cli.doctor.rules.pulling import REGISTER
from cli.words import counted, trouble, when


def one_client(facts: Facts) -> Iterator[Finding]:
    """Registered? Pulled? Does it answer, and for whom?"""
    client = facts.client
    if client is None:
        return
    check = f"client {client.user_id}"
    if client.record.error is not None:
        yield skipped(check, client.record.error, "What the registry knows of it is in the database.")
    elif client.record.answer is None:
        yield problem(check, "It is not registered.", REGISTER.format(url=facts.url))
    else:
        yield _record(check, facts, client.record.answer)
    if client.probe is not None:
        yield _probe(f"{check} from here", client, client.probe)


def _record(check: str, facts: Facts, record: Json) -> Finding:
    last = when(record["last_success_at"], facts.now) if facts.now else record["last_success_at"] or "never"
    if record["state"] == "paused":
        return warning(
            check, "It is paused, and not pulled.", f"Resume it: pullsync resume {shlex.quote(record['user_id'])}"
        )
    if record["state"] in {"failing", "inactive"}:
        tries = counted(record["failures"], "time")
        return problem(
            check,
            f"It failed {tries} in a row, last by "
            f"{trouble(record['last_reason'], record['last_error'])}. "
            f"Last success: {last}.",
            remedy(record["last_reason"] or "", record["client_url"]),
        )
    if record["last_pull_at"] is None:
        return warning(
            check,
            "It is registered, and was not pulled yet.",
            "It is due within seconds of its registration. If that lasts, see the scheduler and the puller above.",
        )
    pending = f"; {counted(record['pending'], 'capture')} pending" if record["pending"] else ""
    return ok(check, f"It is pulled, last success {last}{pending}.")


def _probe(check: str, client: ClientFacts, probe: ClientProbe) -> Finding:
    record: Json = client.record.answer or {}
    is_well = record.get("state") == "active"
    if probe.says is None:
        found = f"{probe.client_url} does not answer: {trouble(probe.reason, probe.error)}."
        if is_well:
            return ok(check, f"{found} The puller reaches it all the same.")
        if record.get("last_reason") == probe.reason:
            return problem(check, found, "It is the same from here as from the puller: most likely the client itself.")
        return problem(check, found, remedy(probe.reason or "", probe.client_url))
    whose = probe.says.get("client_id")
    if whose is not None and whose != client.user_id:
        return problem(
            check,
            f"{probe.client_url} answers for another user: {whose}.",
            "Each client registers with its own user and address (CLIENT_USER_ID, CLIENT_URL).",
        )
    if record and not is_well and record.get("state") != "paused":
        return warning(
            check,
            f"{probe.client_url} answers here, and pulls fail.",
            "If the failures are not over by now, the network between puller and client is in the way: names, "
            "firewalls, PULL_SYNC_NETWORKS, PULL_SYNC_PORTS. Pull it now: "
            f"pullsync sync {shlex.quote(client.user_id)}",
        )
    return ok(check, f"{probe.client_url} answers.")
