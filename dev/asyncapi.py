"""The messages between the services as an AsyncAPI document: `docs/asyncapi.json`.

FastStream's own generator is not used, since its document would not be true here. It makes a channel of each endpoint,
so that sender and receiver of a queue never meet, and three services in one document can't be told apart; it knows
neither a queue's arguments nor the delay and dead-letter queues, which nobody subscribes to; what leaves by
`broker.publish` is missing; and it has no examples. Here the channels are what `declare_topology` declares.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
from faststream.rabbit import RabbitBroker, RabbitExchange, RabbitQueue

from dev.message_examples import EXAMPLES
from shared.contracts.encoding import encoded
from shared.contracts.message_schemas import schemas_of
from shared.contracts.messages import (
    AcknowledgeCaptures,
    CaptureBatch,
    Message,
    PullRequested,
    PullSettled,
    ReplayQuarantined,
)
from shared.contracts.topology import (
    ACKNOWLEDGEMENTS,
    CAPTURE_BATCHES,
    DEAD_LETTERS,
    PULL_REQUESTED,
    PULL_SETTLED,
    REPLAYS,
    declare_topology,
)
from shared.version import VERSION

_DESCRIPTION: Final = """What PullSync's services say to each other over RabbitMQ.

A channel is a queue, its address the routing key. Each message is persistent, published with confirms, may come more
than once, and is taken from its queue when all that it asks for is done. What can't be handled goes to
`<queue>.dead`."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A message's way; a test compares it with the services' code."""

    message: type[Message]
    queue: RabbitQueue
    senders: tuple[str, ...]
    receiver: str


FLOWS: Final = (
    Flow(message=PullRequested, queue=PULL_REQUESTED, senders=("registry",), receiver="puller"),
    Flow(message=CaptureBatch, queue=CAPTURE_BATCHES, senders=("puller",), receiver="ingest"),
    Flow(message=AcknowledgeCaptures, queue=ACKNOWLEDGEMENTS, senders=("ingest",), receiver="ingest"),
    Flow(message=ReplayQuarantined, queue=REPLAYS, senders=("registry",), receiver="ingest"),
    Flow(message=PullSettled, queue=PULL_SETTLED, senders=("puller", "ingest"), receiver="registry"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """A queue as it was declared; it stands in for aio-pika's, which is bound next."""

    queue: RabbitQueue
    exchanges: list[str]

    async def bind(self, exchange: str, routing_key: str) -> None:
        assert routing_key == self.queue.routing()  # noqa: S101 - the address in the document
        self.exchanges.append(exchange)


class _Recorder:
    """Takes the declarations instead of a broker."""

    def __init__(self) -> None:
        self.declared: list[_Declared] = []

    async def declare_exchange(self, _exchange: RabbitExchange) -> None:
        """The document names exchanges at their queues."""

    async def declare_queue(self, queue: RabbitQueue) -> _Declared:
        self.declared.append(_Declared(queue=queue, exchanges=[]))
        return self.declared[-1]


def document() -> Json:
    """The whole document, the same at each call."""
    recorder = _Recorder()
    asyncio.run(declare_topology(cast("RabbitBroker", recorder), consumed=()))
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "PullSync messages", "version": VERSION, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"rabbitmq": {"host": "localhost:5672", "protocol": "amqp", "protocolVersion": "0.9.1"}},
        "channels": {declared.queue.name: _channel(declared) for declared in recorder.declared},
        "operations": {name: operation for flow in FLOWS for name, operation in _operations(flow, recorder.declared)},
        "components": {
            "messages": {flow.message.__name__: _message(flow.message) for flow in FLOWS},
            "schemas": dict(sorted(schemas_of(flow.message for flow in FLOWS).items())),
        },
    }


def _flow(queue: RabbitQueue) -> Flow:
    """Whose message is in a queue: a work queue, one of its delays, or its dead letters."""
    return next(flow for flow in FLOWS if f"{queue.name}.".startswith(f"{flow.queue.name}."))


def _is_delay(declared: _Declared) -> bool:
    return "x-message-ttl" in (declared.queue.arguments or {})


def _channel(declared: _Declared) -> Json:
    queue, flow = declared.queue, _flow(declared.queue)
    if DEAD_LETTERS.name in declared.exchanges:
        text = f"What could not be handled in {flow.queue.name}, until an operator replays it through the registry."
    elif _is_delay(declared):
        text = f"Nobody reads it: what expires here comes to {flow.queue.name}."
    else:
        text = f"The work of {flow.receiver}."
    name = flow.message.__name__
    return {
        "address": queue.routing(),
        "description": text,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {"name": queue.name, "durable": queue.durable, "exclusive": False, "autoDelete": False},
                "x-exchanges": declared.exchanges,
                "x-arguments": dict(sorted((queue.arguments or {}).items())),
                "bindingVersion": "0.3.0",
            }
        },
    }


def _operations(flow: Flow, all_declared: list[_Declared]) -> Iterator[tuple[str, Json]]:
    """Who sends a message, to its queue or to the delays before it, and who receives it."""
    delays = [each.queue.name for each in all_declared if _is_delay(each) and _flow(each.queue) is flow]
    for sender in flow.senders:
        for channel in delays or [flow.queue.name]:
            binding = {"deliveryMode": 2, "mandatory": True, "bindingVersion": "0.3.0"}
            yield f"{sender}-sends-to-{channel}", _operation("send", sender, flow, channel, binding)
    channel = flow.queue.name
    binding = {"ack": True, "bindingVersion": "0.3.0"}
    yield f"{flow.receiver}-receives-from-{channel}", _operation("receive", flow.receiver, flow, channel, binding)


def _operation(action: str, service: str, flow: Flow, channel: str, binding: Json) -> Json:
    name = flow.message.__name__
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": f"{service.capitalize()} {action}s {name}.",
        "tags": [{"name": service}],
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"}],
        "bindings": {"amqp": binding},
    }


def _message(model: type[Message]) -> Json:
    text = inspect.getdoc(model) or ""
    example = next(example for example in EXAMPLES if isinstance(example, model))
    return {
        "name": model.__name__,
        "title": model.__name__,
        "summary": text.split(". ")[0].rstrip("."),
        "description": text,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "bindings": {"amqp": {"messageType": model.__name__, "bindingVersion": "0.3.0"}},
        "examples": [{"name": "example", "payload": msgspec.json.decode(encoded(example))}],
    }
