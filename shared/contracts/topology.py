"""The queues, as an operator sees them in the RabbitMQ management UI.

Every service declares them when it starts, where its user may (`RABBITMQ_DECLARE`). Else RabbitMQ has them from
`deploy/rabbitmq/definitions.json`, which `make docs` writes from what stands here.

One topic exchange; each queue is a durable quorum queue with a dead-letter queue of its own, named `<queue>.dead`.
RabbitMQ can't change a queue's arguments after its declaration: changing one here means a new queue name, or a policy.
"""

from __future__ import annotations

from copy import copy
from typing import Final

from faststream.rabbit import ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue

EXCHANGE: Final = RabbitExchange("pullsync", type=ExchangeType.TOPIC, durable=True)
DEAD_LETTERS: Final = RabbitExchange("pullsync.dead", type=ExchangeType.TOPIC, durable=True)

DELIVERY_LIMIT: Final = 20
"""A message that was given back this often goes to its dead-letter queue."""

DEAD_LETTER_DELIVERY_LIMIT: Final = 2**31 - 1
"""As good as none: every look at a dead letter is a delivery, and beyond the limit it would be lost for good.

It must be said: without a limit RabbitMQ 4 takes 20, and 3.10 puts what is given back at the end of the queue. -1 means
none in RabbitMQ 4 only. The delay queues need none: expiring is no delivery, and beyond the limit they dead-letter.
"""

MIB: Final = 1024 * 1024


def _work_queue(name: str, routing_key: str, *, max_mib: int) -> RabbitQueue:
    """A queue that refuses to grow beyond `max_mib` and dead-letters at least once, which needs that refusal."""
    return RabbitQueue(
        name,
        queue_type=QueueType.QUORUM,
        routing_key=routing_key,
        arguments={
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD_LETTERS.name,
            "x-dead-letter-routing-key": name,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length-bytes": max_mib * MIB,
        },
    )


PULL_REQUESTED: Final = _work_queue("puller.pull-requested", "pull.requested", max_mib=64)
CAPTURE_BATCHES: Final = _work_queue("ingest.capture-batches", "captures.pulled", max_mib=2048)
ACKNOWLEDGEMENTS: Final = _work_queue("ingest.acknowledgements", "captures.acknowledge", max_mib=512)
REPLAYS: Final = _work_queue("ingest.replays", "quarantine.replay", max_mib=64)
PULL_SETTLED: Final = _work_queue("registry.pull-settled", "pull.settled", max_mib=512)

WORK_QUEUES: Final = (PULL_REQUESTED, CAPTURE_BATCHES, ACKNOWLEDGEMENTS, REPLAYS, PULL_SETTLED)

ACKNOWLEDGE_DELAYS_S: Final = (5, 30, 180)
"""An acknowledgement that failed waits this long before the next try; after the last it is given up."""


DIAGNOSIS: Final = "diagnosis"
"""A routing key that leads to no queue: whoever publishes with it learns whether RabbitMQ takes messages."""


def delay_routing_key(delay_s: int) -> str:
    """Where to publish an acknowledgement that shall come back after `delay_s` seconds, one of the delays above."""
    return f"captures.acknowledge.after-{delay_s}s"


def _delay_queue(delay_s: int) -> RabbitQueue:
    """A queue without consumers, whose messages expire into the acknowledgements."""
    return RabbitQueue(
        f"{ACKNOWLEDGEMENTS.name}.after-{delay_s}s",
        queue_type=QueueType.QUORUM,
        routing_key=delay_routing_key(delay_s),
        arguments={
            "x-message-ttl": delay_s * 1000,
            "x-dead-letter-exchange": EXCHANGE.name,
            "x-dead-letter-routing-key": ACKNOWLEDGEMENTS.routing(),
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length-bytes": 512 * MIB,
        },
    )


def dead_letter_queue(queue: RabbitQueue) -> RabbitQueue:
    """Where a work queue's dead letters lie until somebody replays them."""
    return RabbitQueue(
        f"{queue.name}.dead",
        queue_type=QueueType.QUORUM,
        routing_key=queue.name,
        arguments={
            "x-delivery-limit": DEAD_LETTER_DELIVERY_LIMIT,
            "x-overflow": "reject-publish",
            "x-max-length-bytes": 1024 * MIB,
        },
    )


BINDINGS: Final = (
    *((EXCHANGE, queue) for queue in WORK_QUEUES),
    *((EXCHANGE, _delay_queue(delay_s)) for delay_s in ACKNOWLEDGE_DELAYS_S),
    *((DEAD_LETTERS, dead_letter_queue(queue)) for queue in WORK_QUEUES),
)
"""Every queue, after the exchange that leads to it by its routing key."""


async def declare_topology(broker: RabbitBroker, *, consumed: tuple[RabbitQueue, ...]) -> None:
    """Declare every exchange and queue, but for the `consumed` ones, which their subscribers declare.

    (A queue that is declared through the broker before its subscriber starts loses the subscriber's own channel, and
    with it the prefetch.) It may be repeated. After a reconnect aio-pika declares all of it again.

    Raises:
        aiormq.exceptions.ChannelAccessRefused: the user may not declare.
        aio_pika.exceptions.ChannelPreconditionFailed: a queue exists with other arguments.
    """
    await broker.declare_exchange(EXCHANGE)
    await broker.declare_exchange(DEAD_LETTERS)
    for exchange, queue in BINDINGS:
        if queue not in consumed:
            declared = await broker.declare_queue(queue)
            await declared.bind(exchange.name, routing_key=queue.routing())


def looked_up(queue: RabbitQueue) -> RabbitQueue:
    """The same queue, for a subscriber that expects RabbitMQ to have it, and has no right to declare it."""
    expected = copy(queue)
    expected.declare = False
    return expected
