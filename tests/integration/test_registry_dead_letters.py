"""Dead letters on a real RabbitMQ, through the registry's HTTP API: they are seen, kept, and replayed."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import aio_pika
import httpx
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from dev.database import Database
from services.registry.app import build_app
from services.registry.dead_letters.queue import DeadLetterQueue
from services.registry.dead_letters.reading import BODY_SHOWN_BYTES
from services.registry.settings import RegistrySettings
from shared.contracts.topology import CAPTURE_BATCHES, DELIVERY_LIMIT, PULL_REQUESTED, PULL_SETTLED, WORK_QUEUES
from tests.waiting import eventually

API: Final = "/api/v1/admin/dead-letters"
BATCHES: Final = CAPTURE_BATCHES.name
SETTLED: Final = PULL_SETTLED.name
MANY: Final = 120
"""More than a page, and many more than RabbitMQ returns in order by itself."""
NOTHING_SETTLED: Final = b'{"schema_version":1,"outcomes":[]}'


@asynccontextmanager
async def registry(database: Database, broker_url: str, *, ready: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """The whole service, and something that talks to it."""
    app = build_app(RegistrySettings(database_url=database.registry_url, rabbitmq_url=broker_url))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as web,
    ):

        async def is_ready() -> bool:
            return (await web.get("/health/ready")).is_success

        if ready:
            await eventually(is_ready)
        yield web


@pytest.fixture
async def http(database: Database, broker_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Talks to a registry that has declared the queues and consumes its own."""
    async with registry(database, broker_url) as web:
        yield web


@pytest.fixture
async def channel(http: httpx.AsyncClient, broker_url: str) -> AsyncIterator[AbstractChannel]:
    """A connection beside the registry's."""
    del http  # it has declared the queues
    async with await aio_pika.connect(broker_url) as connection:
        yield await connection.channel(on_return_raises=True)


async def publish(channel: AbstractChannel, body: bytes, routing_key: str, **properties: Any) -> None:
    """As a service would, for the queue of this routing key."""
    exchange = await channel.get_exchange("pullsync", ensure=False)
    await exchange.publish(aio_pika.Message(body, delivery_mode=2, **properties), routing_key=routing_key)


async def bury(channel: AbstractChannel, *bodies: bytes, queue: str = BATCHES, **properties: Any) -> None:
    """Put messages straight into the dead-letter queue, as a stranger would."""
    for body in bodies:
        message = aio_pika.Message(body, delivery_mode=2, **properties)
        await channel.default_exchange.publish(message, routing_key=f"{queue}.dead")
    await eventually(lambda: lies_there(channel, f"{queue}.dead", len(bodies)))


async def lies_there(channel: AbstractChannel, name: str, at_least: int) -> bool:
    """Whether a queue has so many messages that nobody holds."""
    declared = await channel.declare_queue(name, passive=True)
    return (declared.declaration_result.message_count or 0) >= at_least


async def take(channel: AbstractChannel, name: str) -> AbstractIncomingMessage:
    """The next message of a queue, which comes within a deadline; it is to be settled."""
    queue = await channel.get_queue(name, ensure=False)
    found: list[AbstractIncomingMessage] = []

    async def came() -> bool:
        message = await queue.get(fail=False)
        found.extend([message] if message is not None else [])
        return message is not None

    await eventually(came)
    return found[0]


async def drained(channel: AbstractChannel, queue: str = BATCHES) -> list[bytes]:
    """All that is in the dead-letter queue, in its order, taken out."""
    dead = await channel.get_queue(f"{queue}.dead", ensure=False)
    bodies = []
    while (message := await dead.get(fail=False, no_ack=True)) is not None:
        bodies.append(message.body)
    return bodies


async def letters(http: httpx.AsyncClient, queue: str = BATCHES, limit: int = 100) -> list[dict[str, Any]]:
    """What the API lists."""
    answer = await http.get(f"{API}/{queue}", params={"limit": limit})
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()
    return listed


async def count(http: httpx.AsyncClient, queue: str) -> int | None:
    """What the overview says of one queue."""
    by_name = {entry["queue"]: entry for entry in (await http.get(API)).json()}
    number: int | None = by_name[queue]["messages"]
    return number


async def has(http: httpx.AsyncClient, queue: str, number: int) -> bool:
    """Whether a queue has exactly so many dead letters."""
    return await count(http, queue) == number


def numbered(number: int) -> list[bytes]:
    """Bodies that tell their order."""
    return [b"%d" % index for index in range(number)]


def previews(listed: list[dict[str, Any]]) -> list[bytes]:
    """The bodies of a list of short messages."""
    return [letter["preview"].encode() for letter in listed]


async def test_the_overview_names_every_queue(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """Each work queue with its dead-letter queue, and how much lies there."""
    await bury(channel, b"a", b"b")
    overview = (await http.get(API)).json()
    assert overview == [
        {"queue": queue.name, "dead_letter_queue": f"{queue.name}.dead", "messages": 2 if queue.name == BATCHES else 0}
        for queue in WORK_QUEUES
    ]


async def test_an_unreadable_message_is_listed(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """What the registry itself could not read, with everything that tells why."""
    await publish(channel, b"{", PULL_SETTLED.routing(), type="PullSettled", app_id="ingest", correlation_id="c-1")
    await eventually(lambda: has(http, SETTLED, 1))
    (letter,) = await letters(http, SETTLED)
    death = letter["death"]
    assert (death["reason"], death["queue"], death["count"]) == ("rejected", SETTLED, 1)
    assert (death["exchange"], death["routing_keys"]) == ("pullsync", [PULL_SETTLED.routing()])
    assert death["died_at"].endswith("Z")
    assert (letter["message_type"], letter["app_id"], letter["correlation_id"]) == ("PullSettled", "ingest", "c-1")
    assert (letter["size_bytes"], letter["preview"], letter["times_delivered"]) == (1, "{", None)
    assert letter["summary"].startswith("PullSettled from ingest (1 bytes) was refused at once")
    assert SETTLED in letter["summary"]


async def test_a_message_that_failed_too_often_is_listed(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """It was given back until the delivery limit."""
    await publish(channel, b"{}", PULL_REQUESTED.routing())
    for _ in range(DELIVERY_LIMIT + 1):
        await (await take(channel, PULL_REQUESTED.name)).reject(requeue=True)
    await eventually(lambda: has(http, PULL_REQUESTED.name, 1))
    (letter,) = await letters(http, PULL_REQUESTED.name)
    assert letter["death"]["reason"] == "delivery_limit"
    assert letter["times_delivered"] == DELIVERY_LIMIT + 1
    assert "failed each time" in letter["summary"]


async def test_a_message_that_expired_is_listed(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """A foreign message with an expiry of its own."""
    await publish(channel, b"{}", CAPTURE_BATCHES.routing(), expiration=0.001)
    await eventually(lambda: has(http, BATCHES, 1))
    (letter,) = await letters(http)
    assert letter["death"]["reason"] == "expired"
    assert "expired" in letter["summary"]


async def test_a_foreign_message_is_listed(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """Put there by hand, without any property, with a forged death, or with an id that fits into no path."""
    await bury(channel, b"\xff\x00")
    await bury(channel, b"x", message_id="../a/b?c", type="T", headers={"x-death": "yes", "x": bytearray(b"\xff")})
    await bury(channel, b"y", headers={"x-death": [1, {"reason": 5}, {"reason": "strange", "count": "z", "time": 1}]})
    first, second, third = await letters(http)
    assert first["death"] is None
    assert first["summary"] == "Message of no type (2 bytes) was put here by hand."
    assert first["preview"] == "\\xff\x00"
    assert (second["message_id"], second["message_type"], second["death"]) == ("../a/b?c", "T", None)
    assert third["death"]["reason"] == "strange"
    for letter in (first, second, third):
        assert (await http.get(f"{API}/{BATCHES}/{letter['id']}")).json()["id"] == letter["id"]


@pytest.mark.parametrize(
    ("body", "body_format", "shown"),
    [
        (b'{"a": [1, null, "\\u00e9"]}', "json", {"a": [1, None, "\u00e9"]}),
        (b"", "text", ""),
        (b"not \xc3\xa9 json\x00", "text", "not \u00e9 json\x00"),
        (b"\xff\xfe\x00", "base64", b64encode(b"\xff\xfe\x00").decode()),
        (b"[" * 9_999, "text", "[" * 9_999),
        (b"[" * 150 + b"]" * 150, "json", json.loads("[" * 150 + "]" * 150)),
        (b'{"a": NaN}', "text", '{"a": NaN}'),
        (b'"\\ud800"', "text", '"\\ud800"'),
        (b"1" * 6_000, None, None),
        (b"1e999", None, None),
    ],
)
async def test_the_whole_message_is_answered(
    http: httpx.AsyncClient, channel: AbstractChannel, body: bytes, body_format: str | None, shown: Any
) -> None:
    """As JSON when it is that, else as text, else in base64; whatever it is, it is answered."""
    await bury(channel, body, headers={"h": bytearray(b"\xff")}, content_type="application/x-foreign")
    (letter,) = await letters(http)
    answer = await http.get(f"{API}/{BATCHES}/{letter['id']}")
    assert answer.status_code == 200
    whole = answer.json()
    assert whole["body_is_cut"] is False
    assert (whole["content_type"], whole["size_bytes"]) == ("application/x-foreign", len(body))
    if body_format is not None:
        assert (whole["body_format"], whole["body"]) == (body_format, shown)
    assert await drained(channel) == [body]


async def test_headers_nested_beyond_all_measure_are_told_by_a_word(
    http: httpx.AsyncClient, channel: AbstractChannel
) -> None:
    """JSON as deep as AMQP can't be answered; the other headers are as they came."""
    nested: Any = 1
    for _ in range(300):
        nested = [nested]
    await bury(channel, b"x", headers={"deep": nested, "plain": [1]})
    [letter] = await letters(http)
    answer = await http.get(f"{API}/{BATCHES}/{letter['id']}")
    assert answer.status_code == 200, answer.text
    told = answer.json()["headers"]
    assert (told["deep"], told["plain"]) == ("(nested too deeply to be shown)", [1])


async def test_a_large_body_is_cut(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """And says so; a character that is cut in two is left out."""
    await bury(channel, b"a" + "\u00e9".encode() * BODY_SHOWN_BYTES)
    (letter,) = await letters(http)
    assert len(letter["preview"]) == 200
    whole = (await http.get(f"{API}/{BATCHES}/{letter['id']}")).json()
    assert (whole["body_is_cut"], whole["body_format"]) == (True, "text")
    assert whole["body"] == "a" + "\u00e9" * (BODY_SHOWN_BYTES // 2 - 1)
    assert whole["size_bytes"] == 2 * BODY_SHOWN_BYTES + 1


async def test_looking_changes_nothing(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """50 looks, far beyond RabbitMQ 4's own delivery limit: nothing lost, nothing doubled, the order kept."""
    bodies = numbered(MANY)
    await bury(channel, *bodies)
    first = await letters(http)
    assert previews(first) == bodies[:100]
    assert len({letter["id"] for letter in first}) == 100
    for look in range(50):
        limit = (100, 3, 40)[look % 3]
        assert await letters(http, limit=limit) == first[:limit]
        assert await count(http, BATCHES) == MANY
    assert await drained(channel) == bodies


async def test_the_limit_is_bounded(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """20 unless told, at most 100."""
    await bury(channel, *numbered(25))
    assert len((await http.get(f"{API}/{BATCHES}")).json()) == 20
    for path in (f"{BATCHES}?limit=0", f"{BATCHES}?limit=101", f"{BATCHES}?limit=many"):
        assert (await http.get(f"{API}/{path}")).status_code == 422
    assert (await http.post(f"{API}/{BATCHES}/replay?limit=0")).status_code == 422


async def test_one_out_of_many_is_replayed(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """The others stay where they were; of those behind the first 100 none is found, until there are fewer."""
    bodies = numbered(MANY)
    await bury(channel, *bodies)
    listed = await letters(http)
    for index in (99, 0, 50):
        answer = await http.post(f"{API}/{BATCHES}/{listed[index]['id']}/replay")
        assert answer.json()["replayed"] == 1
    left = [*bodies[1:50], *bodies[51:99], *bodies[100:]]
    assert previews(await letters(http)) == left[:100]
    assert [(await take(channel, BATCHES)).body for _ in range(3)] == [b"99", b"0", b"50"]
    assert await drained(channel) == left


async def test_several_who_look_see_the_same(
    http: httpx.AsyncClient, channel: AbstractChannel, database: Database, broker_url: str
) -> None:
    """At the same time, in two registries: nobody is shown a part."""
    bodies = numbered(40)
    await bury(channel, *bodies)
    async with registry(database, broker_url) as other:
        lists = await asyncio.gather(*(letters(web) for web in (http, other) * 6))
    assert [previews(listed) for listed in lists] == [bodies] * 12
    assert await drained(channel) == bodies


async def test_who_can_not_have_his_turn_is_told(
    http: httpx.AsyncClient, channel: AbstractChannel, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 rather than an empty list; the overview gives no number. When the other one goes, all is there again."""
    monkeypatch.setattr(DeadLetterQueue.opened, "__kwdefaults__", {"patience_s": 0.1}, raising=False)
    monkeypatch.setattr(DeadLetterQueue.opened.__wrapped__, "__kwdefaults__", {"patience_s": 0.1})  # type: ignore[attr-defined]
    bodies = numbered(40)
    await bury(channel, *bodies)
    elsewhere = DeadLetterQueue(url=broker_url, work_queue=CAPTURE_BATCHES)
    async with elsewhere.opened() as opened, opened.held(lambda message: message.body) as held:
        assert held == bodies
        answer = await http.get(f"{API}/{BATCHES}")
        assert answer.status_code == 503
        assert "Somebody else looks at" in answer.json()["detail"]
        assert (await http.post(f"{API}/{BATCHES}/replay")).status_code == 503
        assert await count(http, BATCHES) is None
    assert previews(await letters(http)) == bodies


async def test_a_look_that_is_cancelled_gives_back(
    http: httpx.AsyncClient, channel: AbstractChannel, broker_url: str
) -> None:
    """In the middle, with all messages in hand: who comes next sees them all, in their order."""
    bodies = numbered(MANY)
    await bury(channel, *bodies)
    holding = asyncio.Event()

    async def look() -> None:
        queue = DeadLetterQueue(url=broker_url, work_queue=CAPTURE_BATCHES)
        async with queue.opened() as opened, opened.held(lambda message: message.body) as held:
            assert held == bodies[:100]
            holding.set()
            await asyncio.Event().wait()

    looking = asyncio.create_task(look())
    await holding.wait()
    looking.cancel()
    assert isinstance((await asyncio.gather(looking, return_exceptions=True))[0], asyncio.CancelledError)
    assert previews(await letters(http)) == bodies[:100]
    assert await drained(channel) == bodies


async def test_a_caller_may_go_away_at_any_moment(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """While it connects, takes or gives back: nothing is lost or moved."""
    bodies = numbered(MANY)
    await bury(channel, *bodies)
    for steps in range(0, 400, 9):
        looking = asyncio.create_task(letters(http))
        for _ in range(steps):
            await asyncio.sleep(0)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    assert previews(await letters(http)) == bodies[:100]
    assert await drained(channel) == bodies


async def test_a_replayed_message_is_as_new(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """It comes to its work queue with its properties, persistent, and without its deaths; the others stay."""
    properties = {
        "type": "CaptureBatch",
        "message_id": "m-1",
        "correlation_id": "c-1",
        "app_id": "puller",
        "content_type": "application/json",
        "headers": {"trace": "t-1"},
    }
    for body in (b"1", b"2", b"3"):
        await publish(channel, body, CAPTURE_BATCHES.routing(), **properties)
        await (await take(channel, BATCHES)).reject(requeue=False)
    await eventually(lambda: has(http, BATCHES, 3))
    second = (await letters(http))[1]
    answer = await http.post(f"{API}/{BATCHES}/{second['id']}/replay")
    assert (answer.status_code, answer.json()["replayed"]) == (200, 1)
    message = await take(channel, BATCHES)
    assert message.body == b"2"
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert (message.exchange, message.routing_key) == ("pullsync", CAPTURE_BATCHES.routing())
    kept = {name: getattr(message, name) for name in properties if name != "headers"}
    assert kept == {name: value for name, value in properties.items() if name != "headers"}
    headers = {name: value for name, value in message.headers.items() if name != "x-delivery-count" or value}
    assert headers == {"trace": "t-1"}
    await message.ack()
    assert previews(await letters(http)) == [b"1", b"3"]
    assert (await http.post(f"{API}/{BATCHES}/{second['id']}/replay")).status_code == 404


async def test_a_replayed_message_has_all_its_lives_again(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """One that died of the delivery limit is tried as often again, and its id is the same after its second death."""
    ids = []
    await publish(channel, b"{}", CAPTURE_BATCHES.routing(), correlation_id=str(uuid4()))
    for _ in range(2):
        for _ in range(DELIVERY_LIMIT + 1):
            await (await take(channel, BATCHES)).reject(requeue=True)
        await eventually(lambda: has(http, BATCHES, 1))
        (letter,) = await letters(http)
        assert (letter["death"]["reason"], letter["death"]["count"]) == ("delivery_limit", 1)
        ids.append(letter["id"])
        assert (await http.post(f"{API}/{BATCHES}/{letter['id']}/replay")).status_code == 200
    assert ids[0] == ids[1]


async def test_all_are_replayed_in_their_order(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """At most as many as asked for, the oldest first, then all the others, and then none."""
    bodies = numbered(MANY)
    await bury(channel, *bodies)
    for limit, replayed in (("?limit=50", 50), ("?limit=1", 1), ("", 69), ("", 0)):
        answer = await http.post(f"{API}/{BATCHES}/replay{limit}")
        assert (answer.status_code, answer.json()["replayed"]) == (200, replayed)
    came = [await take(channel, BATCHES) for _ in range(MANY)]
    assert [message.body for message in came] == bodies
    assert await drained(channel) == []


async def test_what_dies_again_is_replayed_once(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """The registry consumes what it can read; what it can't comes back, and the request ends."""
    poison = [b"{%d" % index for index in range(60)]
    for body in poison:
        await publish(channel, body, PULL_SETTLED.routing())
    await eventually(lambda: has(http, SETTLED, 60))
    await bury(channel, NOTHING_SETTLED, NOTHING_SETTLED, queue=SETTLED)
    answer = await http.post(f"{API}/{SETTLED}/replay")
    assert (answer.status_code, answer.json()["replayed"]) == (200, 62)
    await eventually(lambda: has(http, SETTLED, 60))
    again = await letters(http, SETTLED)
    assert sorted(previews(again)) == sorted(poison)
    assert {letter["death"]["count"] for letter in again} == {1}


async def test_what_no_queue_takes_stays_dead(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """When a work queue is not bound, its dead letters stay where they are, and the answer says so."""
    bodies = numbered(3)
    await bury(channel, *bodies)
    queue = await channel.get_queue(BATCHES, ensure=False)
    await queue.unbind("pullsync", CAPTURE_BATCHES.routing())
    answer = await http.post(f"{API}/{BATCHES}/replay")
    assert answer.status_code == 503
    assert "0 were replayed" in answer.json()["detail"]
    (first, *_) = await letters(http)
    assert (await http.post(f"{API}/{BATCHES}/{first['id']}/replay")).status_code == 503
    assert previews(await letters(http)) == bodies
    await queue.bind("pullsync", CAPTURE_BATCHES.routing())
    assert (await http.post(f"{API}/{BATCHES}/replay")).json()["replayed"] == 3


async def test_equal_messages_share_their_id(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """Replaying one of them leaves the other."""
    await bury(channel, b"same", b"same", message_id="m-1")
    one, other = await letters(http)
    assert one["id"] == other["id"]
    assert (await http.post(f"{API}/{BATCHES}/{one['id']}/replay")).status_code == 200
    assert [letter["id"] for letter in await letters(http)] == [one["id"]]


async def test_what_is_unknown_is_not_found(http: httpx.AsyncClient, channel: AbstractChannel) -> None:
    """404, which says what there is; a dead-letter queue's own name is no work queue's."""
    await bury(channel, b"a")
    for method, path, said in (
        ("GET", "no.such.queue", BATCHES),
        ("GET", f"{BATCHES}.dead", BATCHES),
        ("POST", "no.such.queue/replay", BATCHES),
        ("GET", "no.such.queue/0", BATCHES),
        ("POST", "no.such.queue/0/replay", BATCHES),
        ("GET", f"{BATCHES}/nobody", "nobody"),
        ("POST", f"{BATCHES}/nobody/replay", "nobody"),
        ("GET", f"{SETTLED}/nobody", "nobody"),
    ):
        answer = await http.request(method, f"{API}/{path}")
        assert answer.status_code == 404, path
        assert said in answer.json()["detail"]
    assert await drained(channel) == [b"a"]


async def test_without_a_broker(database: Database) -> None:
    """503 with a sentence, on every endpoint."""
    async with registry(database, "amqp://guest:guest@127.0.0.1:1/", ready=False) as http:
        for method, path in (
            ("GET", ""),
            ("GET", f"/{BATCHES}"),
            ("GET", f"/{BATCHES}/0"),
            ("POST", f"/{BATCHES}/0/replay"),
            ("POST", f"/{BATCHES}/replay"),
        ):
            answer = await http.request(method, f"{API}{path}")
            assert answer.status_code == 503, path
            assert "broker" in answer.json()["detail"]
        assert (await http.get(f"{API}/no.such.queue")).status_code == 404
