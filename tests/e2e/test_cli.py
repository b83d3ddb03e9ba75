"""`pullsync` against a real stack with tokens: every command as a process, what it shows and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import asyncpg
import httpx
import pytest
from typer.main import get_command

from cli.app import build_app
from shared.contracts.topology import CAPTURE_BATCHES
from shared.tokens import authorization
from tests.operator import Operator, is_stopped, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev.broker import Broker
    from dev.database import Database
    from dev.stack import Stack

READ, OPERATE, ADMIN, ENROL, SERVICE = (f"{letter}-0123456789abcdef" for letter in "rpaes")
KEY: Final = "k-0123456789abcdef" * 2
API: Final = "/api/v1/pull-sync"
BAD_CAPTURE: Final = {"pokemon_id": 25, "pokemon_name": "\x1b[31m[bold]pikachu", "action": "capture"}
PULL: Final = "7d3c9c5e-1a57-4a53-8d0e-2f8a4b9c6d7e"
BATCHES: Final = CAPTURE_BATCHES.name


@pytest.fixture
def guarded(stack: Stack) -> Stack:
    """All services with tokens, and two clients; pulls may take long."""
    tokens = f"read:{READ},operate:{OPERATE},admin:{ADMIN}"
    slow = {"PULL_SYNC_TIMEOUT": "40", "PULL_SYNC_LEASE": "100"}
    stack.configure(
        "registry",
        OPERATOR_TOKENS=tokens,
        REGISTRATION_TOKENS=ENROL,
        SERVICE_TOKENS=SERVICE,
        PULL_TOKEN_KEYS=KEY,
        **slow,
    )
    stack.configure("puller-1", SERVICE_TOKENS=SERVICE, PULL_TOKEN_KEYS=KEY, **slow)
    stack.configure("ingest-1", PULL_TOKEN_KEYS=KEY)
    for client in ("client-1", "client-2"):
        stack.configure(client, CLIENT_REGISTRATION_TOKEN=ENROL)
    stack.start_together("registry", "ingest-1", "puller-1")
    stack.start_together("client-1", "client-2")
    return stack


@pytest.fixture
def web(guarded: Stack) -> Iterator[httpx.Client]:
    """The API itself, to compare with; when both clients are registered."""
    url = guarded.url("registry")
    with httpx.Client(base_url=url, headers=authorization(ADMIN), trust_env=False, timeout=30) as client:
        until(lambda: len(client.get(f"{API}/registered-clients").json()) == 2)
        yield client


@pytest.fixture
def operator(guarded: Stack, tmp_path: Path) -> Operator:
    """With the token of an administrator."""
    return Operator(guarded.url("registry"), tmp_path, PULLSYNC_TOKEN=ADMIN)


def capture(stack: Stack, client: str, **changes: Any) -> None:
    """Make one on a client."""
    body = {**BAD_CAPTURE, **changes}
    answer = httpx.post(f"{stack.url(client)}/api/client/add-capture", json=body, trust_env=False)
    assert answer.status_code == 200, answer.text


async def bury(broker: Broker) -> None:
    """A message that nobody can read, in the dead letters."""
    async with await aio_pika.connect(broker.admin_url) as connection:
        channel = await connection.channel()
        body = aio_pika.Message(b'{"pulls": 0, "note": "\x1b[31m[bold]x"}', type="CaptureBatch", delivery_mode=2)
        await channel.default_exchange.publish(body, routing_key=f"{BATCHES}.dead")


def commands() -> set[str]:
    """All that the program has, as they are typed."""
    found: set[str] = set()

    def walk(command: Any, path: str) -> None:
        for name, each in getattr(command, "commands", {}).items():
            walk(each, f"{path} {name}".strip())
        if not getattr(command, "commands", {}):
            found.add(path)

    walk(get_command(build_app()), "")
    return found


class Shell:
    """Calls commands that go well, and remembers which."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self.used: set[str] = set()

    def says(self, command: str, *args: str) -> str:
        """What it prints; nothing foreign gets to the terminal."""
        self.used.add(command)
        said = self._operator.calls(*command.split(), *args)
        assert (said.status, "\x1b" in said.out + said.err) == (0, False), said
        return said.out

    def answers(self, command: str, *args: str) -> Any:
        """What it prints as JSON."""
        return json.loads(self.says(command, *args, "--json"))

    def fails(self, command: str, *args: str) -> str:
        """What it says when it could not be done."""
        self.used.add(command)
        said = self._operator.calls(*command.split(), *args)
        assert (said.status, said.out) == (1, ""), said
        return said.err


@pytest.mark.timeout(300)
def test_every_command_does_what_it_says(
    guarded: Stack, web: httpx.Client, operator: Operator, broker: Broker, database: Database
) -> None:
    """For people, and as JSON, which is exactly what the API answers."""
    shell = Shell(operator)
    shell.says("scheduler stop")
    stopped = "scheduler  stopped; to start it: pullsync scheduler start\n"
    assert shell.says("scheduler status").startswith(stopped)
    check_runs(shell, guarded, web)
    check_clients(shell, web)
    page = operator.calls("clients", "--limit", "1")
    assert ("user_1" in page.out, "user_2" in page.out) == (True, False)
    assert page.err == "More: pullsync clients --after user_1, or --all\n"
    assert shell.says("scheduler set-interval", "3600") == "Each client is pulled every 3600 seconds.\n"
    assert shell.says("scheduler start") == "The scheduler is running.\n"
    check_single_clients(shell, guarded)
    check_what_came_of_it(shell, web, database)
    check_quarantine(shell, web, database)
    check_dead_letters(shell, broker)
    assert shell.says("unregister", "user_2").startswith("Client user_2 is forgotten")
    assert shell.used | {"doctor"} == commands()  # that one is in test_doctor.py


def check_runs(shell: Shell, stack: Stack, web: httpx.Client) -> None:
    """Runs are started, followed, listed, looked at."""
    capture(stack, "client-1")
    run = shell.answers("sync")
    assert (run["state"], run["stored"], run["failed"]) == ("finished", 1, 0)
    assert run == web.get(f"{API}/runs/{run['run_id']}").json()
    assert "1 capture stored" in shell.says("run", run["run_id"])
    assert shell.answers("run", run["run_id"], "--follow") == run
    assert run["run_id"] in shell.says("runs")
    assert shell.answers("runs") == web.get(f"{API}/runs").json()
    assert "2 clients in" in shell.says("sync", "--recent")
    assert "0 were missing" in shell.says("sync", "--complete-state", "--delete-unknown", "--yes")
    begun = shell.answers("sync", "--background")
    until(lambda: web.get(f"{API}/runs/{begun['run_id']}").json()["state"] == "finished")
    assert "has ended already" in shell.fails("cancel", begun["run_id"])


def check_clients(shell: Shell, web: httpx.Client) -> None:
    """Listed, looked at, paused, resumed."""
    assert shell.says("clients").splitlines()[0].split()[:2] == ["user", "state"]
    assert shell.says("pause", "user_2") == "Client user_2 is paused: neither timer nor runs nor nudges pull it.\n"
    assert shell.says("pause", "user_1")
    listed = shell.answers("clients", "--all")
    assert [client["user_id"] for client in listed] == ["user_1", "user_2"]
    assert steady(listed) == steady(web.get(f"{API}/registered-clients").json())
    assert "1 stored, 0 pending" in shell.says("client", "user_1")
    [one] = steady([shell.answers("client", "user_1")])
    assert [one] == steady([web.get(f"{API}/clients/user_1").json()])
    assert len(shell.answers("clients", "--state", "paused")) == 2
    assert shell.answers("resume", "user_2")["state"] == "active"
    assert shell.says("resume", "user_1") == "Client user_1 is pulled again.\n"
    assert shell.fails("client", "nobody") == "Error: No client is registered for user 'nobody'.\n"


def steady(clients: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what depends on the time of the question."""
    return [{name: value for name, value in client.items() if not name.startswith("next_")} for client in clients]


def check_single_clients(shell: Shell, stack: Stack) -> None:
    """Pulled now, one after the other or together."""
    capture(stack, "client-2", pokemon_id=1)
    assert "user_2: pulled in" in shell.says("sync", "user_2")
    assert [client["stored"] for client in shell.answers("sync", "user_2", "user_1")] == [1, 1]


def check_what_came_of_it(shell: Shell, web: httpx.Client, database: Database) -> None:
    """Numbers and the ranking."""
    assert "2 registered: 2 active" in shell.says("status")
    assert shell.answers("status")["registered_clients"] == 2
    assert "bulbasaur" in shell.says("ranking")
    assert shell.answers("ranking", "--limit", "1") == web.get("/api/v1/ranking", params={"limit": 1}).json()
    assert "user_1" in shell.says("ranking", "--users")
    assert "pikachu" in shell.says("ranking", "--user", "user_1")
    [capture_id] = [capture["capture_id"] for capture in asyncio.run(stored(database))]
    told = shell.says("capture", "user_1", capture_id)
    assert "state " in told
    assert "pikachu (#25), capture" in told
    way = shell.answers("capture", "user_1", capture_id)
    assert way["stored_at"] == web.get(f"/api/v1/captures/user_1/{capture_id}").json()["stored_at"]
    assert shell.fails("capture", "user_1", "nothing").startswith("Error: ")
    assert "stored" in shell.says("client", "user_1", "--history")
    assert shell.answers("client", "user_1", "--history") == web.get(f"{API}/clients/user_1/pulls").json()


async def stored(database: Database) -> list[asyncpg.Record]:
    """What is stored of user_1."""
    owner = await asyncpg.connect(database.ingest_url)
    rows = await owner.fetch("SELECT capture_id FROM captures.events WHERE user_id = 'user_1'")
    await owner.close()
    return list(rows)


def check_quarantine(shell: Shell, web: httpx.Client, database: Database) -> None:
    """Listed, shown whole, tried again."""
    assert shell.says("quarantine list") == ""
    number = asyncio.run(quarantined(database))
    assert "bad \\u001b]0;evil\\u0007 [red]x" in shell.says("quarantine list")
    assert shell.answers("quarantine list") == web.get("/api/v1/admin/quarantine").json()
    assert PULL in shell.says("quarantine show", str(number))
    assert "Asked for 1 item." in shell.says("quarantine replay", str(number))
    assert shell.answers("quarantine replay", "--all")["asked"] == 1


async def quarantined(database: Database) -> int:
    """The number of an item that ingest could not read, and never can."""
    owner = await asyncpg.connect(database.ingest_url)
    number: int = await owner.fetchval(
        "INSERT INTO captures.quarantine (user_id, problem, pull_id, raw, fingerprint) "
        "VALUES ('user_1', $1, $2, '{}', 'f'::bytea) RETURNING quarantine_id",
        "bad \x1b]0;evil\x07 [red]x",
        PULL,
    )
    await owner.close()
    return number


def check_dead_letters(shell: Shell, broker: Broker) -> None:
    """Counted, listed, shown, given to their queue again, where they die again."""
    asyncio.run(bury(broker))

    def one_lies_there() -> bool:
        return bool(shell.answers("dead-letters list")[1]["messages"] == 1)

    until(one_lies_there)
    [letter] = shell.answers("dead-letters list", BATCHES)
    assert letter["id"] in shell.says("dead-letters list", BATCHES)
    assert "\\u001b[31m[bold]x" in shell.says("dead-letters show", BATCHES, letter["id"])
    assert shell.says("dead-letters replay", BATCHES, letter["id"]) == "The message was replayed.\n"
    until(one_lies_there)
    assert shell.answers("dead-letters replay", BATCHES, "--all", "--limit", "1")["replayed"] == 1


def test_a_token_decides_what_may_be_done(guarded: Stack, web: httpx.Client, tmp_path: Path) -> None:
    """None, a wrong one, one that only reads: status 4, and a line that says what to do; never the token itself."""
    url = guarded.url("registry")
    assert web.get("/health").status_code == 200
    (tmp_path / "token").write_text(f"{OPERATE}\n")
    nobody = Operator(url, tmp_path)
    reader = Operator(url, tmp_path, PULLSYNC_TOKEN=READ)
    for operator, args in (
        (nobody, ("status",)),
        (Operator(url, tmp_path, PULLSYNC_TOKEN="w" * 16), ("status",)),
        (reader, ("pause", "user_1")),
        (reader, ("sync",)),
        (reader, ("scheduler", "stop")),
        (reader, ("dead-letters", "replay", BATCHES, "--all")),
        (nobody, ("--token-file", "token", "sync", "--complete-state", "--delete-unknown", "--yes")),
    ):
        said = operator.calls(*args)
        assert (said.status, said.out, len(said.err.splitlines())) == (4, "", 2), said
        assert said.err.startswith("Error: ")
        assert "PULLSYNC_TOKEN" in said.err
        assert not [token for token in (READ, OPERATE, "w" * 16) if token in said.err]
    assert reader.calls("status").status == 0
    assert nobody.calls("--token-file", "token", "pause", "user_1").status == 0


@pytest.fixture
def stuck(guarded: Stack, web: httpx.Client) -> Stack:
    """With a second client that does not answer, and no timer."""
    web.post(f"{API}/scheduler/stop").raise_for_status()
    os.kill(guarded.pid("client-2"), signal.SIGSTOP)
    until(lambda: is_stopped(guarded.pid("client-2")))
    return guarded


def half_done(running: subprocess.Popen[str], web: httpx.Client) -> str:
    """The id of a run that has begun and waits for the second client."""
    assert running.stderr is not None
    word, run_id = running.stderr.readline().split()
    assert word == "Run"
    until(lambda: web.get(f"{API}/runs/{run_id}").json()["settled"] == 1)
    return run_id


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("stuck")
def test_ctrl_c_leaves_the_run_going_or_cancels_it(web: httpx.Client, operator: Operator) -> None:
    """As it was asked for; and how to look at it, or to end it, is told."""
    with operator.begins("sync", "--cancel") as running:
        cancelled = half_done(running, web)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
        assert (running.returncode, err.splitlines()[-1]) == (130, f"To look at it: pullsync run {cancelled}")
    assert web.get(f"{API}/runs/{cancelled}").json()["state"] == "cancelled"
    with operator.begins("sync") as running:
        left = half_done(running, web)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
        assert running.returncode == 130
        assert err.splitlines() == [
            f"The run goes on. To look at it: pullsync run {left} --follow",
            f"To end it: pullsync cancel {left}",
        ]
    assert web.get(f"{API}/runs/{left}").json()["state"] == "running"
    assert operator.calls("cancel", left, "--json").data["state"] == "cancelled"


@pytest.mark.timeout(300)
def test_a_run_is_followed_across_a_registry_that_dies(stuck: Stack, web: httpx.Client, operator: Operator) -> None:
    """The bar says so, and goes on when the registry is back; the end is told as if nothing had been."""
    run_id = operator.calls("sync", "--background", "--json").data["run_id"]
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as err, operator.begins("run", run_id, "--follow", err=err) as running:
        read_until(controller, "1/2")
        stuck.kill("registry")
        read_until(controller, "trying again")
        stuck.start("registry")
        os.kill(stuck.pid("client-2"), signal.SIGCONT)
        read_until(controller, "2/2")
        out, _ = running.communicate(timeout=60)
    os.close(controller)
    assert running.returncode == 0
    assert "state    finished" in out
    assert web.get(f"{API}/runs/{run_id}").json()["settled"] == 2


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("web")
def test_a_failed_client_is_a_failure(guarded: Stack, operator: Operator) -> None:
    """Of the run that is followed, and of a client that is pulled by itself; so is one that is not pulled at all."""
    guarded.kill("client-2")
    said = operator.calls("sync")
    assert (said.status, "failed  user_2: connect: " in said.out) == (1, True), said
    said = operator.calls("sync", "user_1", "user_2")
    assert said.status == 1
    assert "user_1: pulled in" in said.out
    assert "user_2: connect: " in said.out
    guarded.stop("puller-1")
    said = operator.calls("sync", "user_1", "--timeout", "1")
    assert said.status == 1
    assert said.err.startswith("Error: 1 client not pulled within 1 s.\n")


def read_until(controller: int, text: str) -> None:
    """Take what the terminal is sent, until this was among it."""
    received = b""

    def came() -> bool:
        nonlocal received
        received += os.read(controller, 65_536)
        return text.encode() in received

    until(came)
