"""`make up` and `make demo`: everything on this machine, shown to work.

Starts private servers and all services with their data in `.local/`, makes a capture on the first sample client, and
shows that it is pulled, stored, acknowledged and ranked. `up` then stays until Ctrl-C; `demo` ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPException
from types import FrameType
from typing import Any, Final

from dev.broker import MONITORING_USER, create_broker, monitoring_url
from dev.choices import Choices
from dev.database import create_database
from dev.local_data import DATA, DATABASE, kept_password
from dev.local_http import open_local
from dev.monitoring import address, configuration
from dev.servers.errors import DevError
from dev.servers.install import ensure_prometheus, ensure_rabbitmq_server
from dev.servers.leftovers import end_leftovers
from dev.servers.lock import DirectoryLock
from dev.servers.postgres import PostgresServer
from dev.servers.postmaster import postgres_processes
from dev.servers.process import describe_exit
from dev.servers.prometheus import PrometheusServer
from dev.servers.rabbitmq import RabbitMQNode, node_processes
from dev.stack import CHECKOUT, Stack

_SHOWN_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.2
_WATCH_S: Final = 1.0
_HTTP_TIMEOUT_S: Final = 10.0
_TUNING: Final = "PULL_SYNC_"
_ALSO_TUNED: Final = frozenset({"LOG_LEVEL", "CLIENT_CORS_ORIGINS"})
_APP: Final = "http://localhost:8100"
"""The original's app, by `ionic serve`: the page that may call the sample clients."""
_QUICK_INTERVAL_S: Final = "5"
_PIKACHU: Final = {"pokemon_id": 25, "pokemon_name": "pikachu", "action": "capture", "removed": False}


def main() -> int:
    """Run the command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="dev.up", description=__doc__)
    parser.add_argument("command", choices=["up", "demo", "clean"])
    command = parser.parse_args().command
    signal.signal(signal.SIGTERM, _interrupt)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may know no tick
    try:
        if command == "clean":
            _clean()
        else:
            _run(stay=command == "up")
    except DevError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        if error.detail:
            print(error.detail, file=sys.stderr)
        return 1
    except (OSError, HTTPException) as error:
        print(f"\nerror: {error}; the logs are in {DATA.name}/services/logs", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130 if command == "demo" else 0
    return 0


def _run(*, stay: bool) -> None:
    choices = Choices()
    started = time.monotonic()
    with ExitStack() as stack:
        stack.callback(print, "stopped")
        postgres, rabbitmq = _start_servers(stack, choices)
        services = stack.enter_context(_services(postgres, rabbitmq, choices))
        stack.callback(_say_stopping)
        _start_services(services, choices)
        prometheus = stack.enter_context(_prometheus(services, rabbitmq, choices)) if choices.monitoring else None
        if choices.clients:
            _show_a_capture(services)
        print(f"\nready after {time.monotonic() - started:.0f} s\n")
        _print_addresses(services, rabbitmq, prometheus, choices)
        if stay:
            _watch(services)


def _start_servers(stack: ExitStack, choices: Choices) -> tuple[PostgresServer, RabbitMQNode]:
    DATA.mkdir(exist_ok=True)
    ensure_rabbitmq_server()
    if choices.monitoring:
        ensure_prometheus()
    postgres = PostgresServer(DATA / "postgres")
    rabbitmq = RabbitMQNode(DATA / "rabbitmq", management_port=choices.management_port)
    for name, server in (("PostgreSQL", postgres), ("RabbitMQ", rabbitmq)):
        begun = time.monotonic()
        stack.enter_context(server)
        _tick(f"{name} runs", begun)
    return postgres, rabbitmq


def _services(postgres: PostgresServer, rabbitmq: RabbitMQNode, choices: Choices) -> Stack:
    database = asyncio.run(create_database(postgres.url, DATABASE, password=kept_password("database")))
    broker = asyncio.run(
        create_broker(
            rabbitmq.url,
            rabbitmq.management_url,
            password=kept_password("rabbitmq"),
            monitoring_password=kept_password("monitoring"),
        )
    )
    ports = dict(zip(choices.client_names, choices.client_ports, strict=False))
    services = Stack(
        folder=DATA / "services",
        registry_url=database.registry_url,
        ingest_url=database.ingest_url,
        rabbitmq_urls=broker.urls,
        env={"PULL_SYNC_INTERVAL": _QUICK_INTERVAL_S, "CLIENT_CORS_ORIGINS": _APP, **_tuning()},
        ports={"registry": choices.registry_port, **ports},
    )
    services.configure(
        "registry",
        RABBITMQ_MANAGEMENT_URL=monitoring_url(rabbitmq.management_url, kept_password("monitoring")),
        RABBITMQ_MANAGEMENT_LINK=rabbitmq.management_url,
    )
    return services


def _tuning() -> dict[str, str]:
    """What the user's environment may change about the services; addresses and files are ours to choose."""
    return {name: value for name, value in os.environ.items() if name.startswith(_TUNING) or name in _ALSO_TUNED}


def _start_services(services: Stack, choices: Choices) -> None:
    begun = time.monotonic()
    services.start_together("registry", "ingest-1", "puller-1")
    _tick("registry, puller and ingest run", begun)
    _tell_what_was_there(services)
    if choices.clients:
        begun = time.monotonic()
        services.start_together(*choices.client_names)
        _until(services, lambda: set(choices.client_names) <= _registered(services), "registered")
        _tick(f"{choices.clients} client{'s' * (choices.clients > 1)} registered", begun)


def _prometheus(services: Stack, rabbitmq: RabbitMQNode, choices: Choices) -> PrometheusServer:
    """With the rules of deploy/monitoring; PostgreSQL has no exporter here."""
    names = {"registry": ["registry"], "puller": ["puller-1"], "ingest": ["ingest-1"], "client": choices.client_names}
    targets = {job: [address(services.url(name)) for name in replicas] for job, replicas in names.items() if replicas}
    queues = address(rabbitmq.metrics_url)
    return PrometheusServer(
        DATA / "prometheus",
        configuration=configuration({**targets, "rabbitmq": [queues], "rabbitmq-queues": [queues]}),
    )


def _tell_what_was_there(services: Stack) -> None:
    status = _get(f"{services.url('registry')}/api/v1/admin/database-status")
    clients, captures = status["tables"]["clients"], status["tables"]["captures"]
    if clients or captures:
        print(f"  found again: {clients} clients, {captures} captures (`make clean` removes them)")


def _registered(services: Stack) -> set[str]:
    """The names of the sample clients that are registered where they now are."""
    url = f"{services.url('registry')}/api/v1/pull-sync/registered-clients?limit=10000"
    return {
        name
        for client in _get(url)
        if client["client_url"] == services.url(name := f"client-{client['user_id'].removeprefix('user_')}")
    }


def _show_a_capture(services: Stack) -> None:
    """Makes a capture, and ticks off its way as each step becomes true."""
    client, registry = services.url("client-1"), services.url("registry")
    before = _record(registry)
    captured = _post(f"{client}/api/client/add-capture", _PIKACHU)["capture"]["capture_id"]
    begun = time.monotonic()
    print(f"\n  capture {captured} is made on client-1; the timer pulls it within {_interval(registry)} s:")
    _until(
        services,
        lambda: _later(_record(registry)["last_pull_at"], before["last_pull_at"]) and _stored(registry, before),
        "stored",
    )
    _tick("pulled, and stored in PostgreSQL", begun)
    _until(services, lambda: _get(f"{client}/api/client/stats")["pending_sync"] == 0, "acknowledged")
    _tick("acknowledged: the client may forget it", begun)
    _until(services, lambda: _ranked(registry), "ranked")
    _tick("in the ranking", begun)
    for place, entry in enumerate(_get(f"{registry}/api/v1/ranking?limit=3"), start=1):
        print(f"      {place}. {entry['pokemon_name']}: {entry['favorite_count']}")


def _ranked(registry: str) -> bool:
    ranking = _get(f"{registry}/api/v1/ranking?limit=1500")
    return any(entry["pokemon_id"] == _PIKACHU["pokemon_id"] for entry in ranking)


def _record(registry: str) -> dict[str, Any]:
    record: dict[str, Any] = _get(f"{registry}/api/v1/pull-sync/clients/user_1")
    return record


def _stored(registry: str, before: dict[str, Any]) -> bool:
    return bool(_record(registry)["stored"] > before["stored"])


def _later(now: str | None, before: str | None) -> bool:
    return now is not None and (before is None or now > before)


def _interval(registry: str) -> int:
    return int(_get(f"{registry}/api/v1/pull-sync/scheduler/status")["sync_interval"])


def _print_addresses(
    services: Stack, rabbitmq: RabbitMQNode, prometheus: PrometheusServer | None, choices: Choices
) -> None:
    registry = services.url("registry")
    print(f"registry API         {registry}      documentation {registry}/docs, dashboard {registry}/dashboard")
    for name in choices.client_names:
        print(f"{name:<20} {services.url(name)}      a page to capture with")
    login = f"user {MONITORING_USER}, password {kept_password('monitoring')}"
    print(f"RabbitMQ management  {rabbitmq.management_url}      {login}")
    if prometheus is not None:
        print(f"Prometheus           {prometheus.url}      what is asked {prometheus.url}/targets, alerts /alerts")
    print(f"logs                 {DATA.relative_to(CHECKOUT)}/services/logs")
    if choices.clients:
        print(
            f"\nA capture of your own:\n  curl -X POST {services.url('client-1')}/api/client/add-capture "
            "-H 'Content-Type: application/json' \\\n"
            '    -d \'{"pokemon_id": 1, "pokemon_name": "bulbasaur", "action": "capture", "removed": false}\''
        )
    print(f"The ranking:\n  curl {registry}/api/v1/ranking\n", flush=True)


def _watch(services: Stack) -> None:
    """Until Ctrl-C.

    Raises:
        DevError: a service ended by itself.
    """
    print("Ctrl-C stops all of it.", flush=True)
    while True:
        time.sleep(_WATCH_S)
        _require_alive(services)


def _require_alive(services: Stack) -> None:
    for process in services.dead():
        how = describe_exit(process.returncode)
        message = f"{process.name} ended by itself ({how}); its log: {process.log_path}"
        raise DevError(message)


def _clean() -> None:
    if not DATA.exists():
        return
    postgres, rabbitmq = DATA / "postgres", DATA / "rabbitmq"
    with ExitStack() as held:
        for folder, name in ((postgres, "PostgreSQL"), (rabbitmq, "RabbitMQ"), (DATA / "prometheus", "Prometheus")):
            lock = DirectoryLock(folder, name)
            lock.acquire()  # fails, with a clear line, while a stack runs on it
            held.callback(lock.release)
        end_leftovers(lambda: postgres_processes(postgres / "cluster"), signal.SIGINT, "PostgreSQL", postgres)
        end_leftovers(lambda: node_processes(rabbitmq), signal.SIGTERM, "RabbitMQ", rabbitmq)
        shutil.rmtree(DATA)
    print(f"removed {DATA.name}/")


def _until(services: Stack, condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _SHOWN_WITHIN_S
    while not _holds(condition):
        _require_alive(services)
        if time.monotonic() > end:
            message = f"not {what} within {_SHOWN_WITHIN_S:g} s; see {DATA.name}/services/logs"
            raise DevError(message)
        time.sleep(_POLL_S)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except (OSError, HTTPException):
        return False


def _tick(what: str, begun: float) -> None:
    print(f"  ✓ {what} ({time.monotonic() - begun:.1f} s)", flush=True)


def _get(url: str) -> Any:
    return _read(url)


def _post(url: str, body: dict[str, Any]) -> Any:
    return _read(url, json.dumps(body).encode())


def _read(url: str, body: bytes | None = None) -> Any:
    with open_local(url, body=body, timeout_s=_HTTP_TIMEOUT_S) as response:
        return json.load(response)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say_stopping() -> None:
    """And let no second Ctrl-C or SIGTERM interrupt it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print("\nstopping", flush=True)


if __name__ == "__main__":
    sys.exit(main())
