"""RabbitMQ. The only module that talks AMQP: confirmed mandatory publishes, one message at a time, explicit settling.

pika's BlockingConnection lives in one thread. The broker may close the channel while nobody looks (consumer_timeout)
and pika raises nothing then, so `is_open` and `tick` look at the channel itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    AMQPChannelError,
    ChannelClosedByBroker,
    ChannelWrongStateError,
    NackError,
    UnroutableError,
)

from covaria.bus.connect import connection_parameters
from covaria.bus.lenient import read_leniently, text
from covaria.bus.model import (
    CONTENT_TYPE,
    BrokerAway,
    BusError,
    Delivery,
    DeliveryLost,
    Outgoing,
    Refused,
    TopologyMissing,
    Unroutable,
)
from covaria.bus.topology import Topology
from covaria.settings import Settings

log = logging.getLogger(__name__)

_NOT_FOUND, _PRECONDITION_FAILED, _ACCESS_REFUSED = 404, 406, 403


class RabbitBus:
    """A connection and a channel; after BrokerAway, `open` makes new ones. `on_publish(result)` counts publishes."""

    def __init__(self, settings: Settings, on_publish: Callable[[str], None] = lambda result: None) -> None:
        read_leniently()
        self._parameters = connection_parameters(settings)
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._generation = 0
        self._on_publish = on_publish

    @property
    def is_open(self) -> bool:
        return self._channel is not None and bool(self._channel.is_open)

    @property
    def server_version(self) -> str:
        """The broker's version, "" while not connected."""
        if self._connection is None:
            return ""
        properties: dict[str, Any] = getattr(self._connection._impl, "server_properties", None) or {}
        version = properties.get("version", "")
        return version.decode() if isinstance(version, bytes) else str(version)

    def open(self) -> None:
        self.close()
        try:
            self._connection = pika.BlockingConnection(self._parameters)
            self._open_channel()
        except Exception as error:
            self.close()
            host, port = self._parameters.host, self._parameters.port
            raise BrokerAway(
                f"no connection to RabbitMQ at {host}:{port}: {_reason(error)}", hint="covaria doctor looks closer"
            ) from error

    def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            try:
                connection.close()
            except Exception as error:  # it is of no more use, whatever is wrong with it
                log.debug("while closing: %s", _text(error))

    def declare(self, topology: Topology) -> None:
        with self._talking() as channel, self._naming("declare"):
            for exchange in topology.exchanges:
                channel.exchange_declare(exchange.name, exchange_type=exchange.kind, durable=True)
            for queue in topology.queues:
                channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
            for binding in topology.bindings:
                channel.queue_bind(binding.queue, binding.exchange, routing_key=binding.key)

    def check(self, topology: Topology) -> None:
        with self._talking() as channel, self._naming("check"):
            for exchange in topology.exchanges:
                channel.exchange_declare(exchange.name, passive=True)
            for queue in topology.queues:
                channel.queue_declare(queue.name, passive=True)

    def publish(self, message: Outgoing) -> None:
        properties = pika.BasicProperties(
            content_type=CONTENT_TYPE,
            delivery_mode=2,
            message_id=_short(message.message_id),
            headers={name: value for name, value in message.headers.items() if not name.startswith("x-")},
        )
        result = "error"
        try:
            with self._talking() as channel, self._naming("publish"):
                channel.basic_publish(
                    message.exchange, message.key, message.body, properties, mandatory=message.mandatory
                )
            result = "confirmed"
        except UnroutableError as error:
            result = "unroutable"
            raise Unroutable(
                f"no queue of exchange {message.exchange} takes key {message.key!r}", hint="covaria broker declare"
            ) from error
        except NackError as error:
            result = "refused"
            raise Refused(
                f"the broker refused a message for {message.exchange}, key {message.key!r}: a queue is full",
                hint="wait, or raise the queue's max-length policy",
            ) from error
        finally:
            self._on_publish(result)

    def get(self, queue: str) -> Delivery | None:
        with self._talking() as channel, self._naming("get"):
            method, properties, body = channel.basic_get(queue)
        if method is None or properties is None:
            return None
        return Delivery(
            queue=queue,
            key=text(method.routing_key),
            body=body or b"",
            message_id=text(properties.message_id),
            headers={text(name): value for name, value in (properties.headers or {}).items()},
            redelivered=bool(method.redelivered),
            channel=self._generation,
            tag=method.delivery_tag,
        )

    def holds(self, delivery: Delivery) -> bool:
        return self.is_open and delivery.channel == self._generation

    def ack(self, delivery: Delivery) -> None:
        with self._settling(delivery) as channel:
            channel.basic_ack(delivery.tag)

    def reject(self, delivery: Delivery) -> None:
        with self._settling(delivery) as channel:
            channel.basic_reject(delivery.tag, requeue=False)

    def hand_back(self, delivery: Delivery) -> None:
        with self._settling(delivery) as channel:
            channel.basic_nack(delivery.tag, requeue=True)

    def depth(self, queue: str) -> int:
        with self._talking() as channel, self._naming("depth"):
            return int(channel.queue_declare(queue, passive=True).method.message_count)

    def tick(self, seconds: float) -> None:
        with self._talking():
            assert self._connection is not None
            self._connection.process_data_events(time_limit=seconds)
        if not self.is_open:
            self.close()
            raise BrokerAway("the broker closed the channel (consumer_timeout, or an operator)")

    @contextmanager
    def _talking(self) -> Iterator[BlockingChannel]:
        """The open channel; every way in which it can be gone becomes BrokerAway."""
        channel = self._channel
        if channel is None or not channel.is_open:
            self.close()
            raise BrokerAway("no open channel to RabbitMQ")
        try:
            yield channel
        except (BusError, UnroutableError, NackError, AMQPChannelError) as error:
            if not isinstance(error, ChannelWrongStateError):
                raise
            self.close()
            raise BrokerAway(f"lost RabbitMQ: {_text(error)}") from error
        except Exception as error:  # gone in one of many ways, or bytes that pika cannot read
            self.close()
            raise BrokerAway(f"lost RabbitMQ: {_text(error)}") from error

    @contextmanager
    def _naming(self, action: str) -> Iterator[None]:
        """A channel that the broker closed over what we asked: open another, and say what was wrong."""
        try:
            yield
        except ChannelClosedByBroker as error:
            self._open_channel()
            if error.reply_code in (_NOT_FOUND, _PRECONDITION_FAILED):
                raise TopologyMissing(f"{action}: {error.reply_text}", hint="covaria broker declare") from error
            if error.reply_code == _ACCESS_REFUSED:
                raise Refused(
                    f"{action}: {error.reply_text}", hint="see the permissions in docs/messages.md"
                ) from error
            raise BrokerAway(f"{action}: {error.reply_text}") from error

    @contextmanager
    def _settling(self, delivery: Delivery) -> Iterator[BlockingChannel]:
        """A delivery tag of another channel would close this one, so it is never sent."""
        if not self.holds(delivery):
            raise DeliveryLost(f"message {delivery.message_id} belongs to a channel that is gone; it comes again")
        try:
            with self._talking() as channel:
                yield channel
        except AMQPChannelError as error:
            self.close()
            raise DeliveryLost(f"message {delivery.message_id}: {_text(error)}") from error

    def _open_channel(self) -> None:
        assert self._connection is not None
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._generation += 1


def _reason(error: BaseException) -> str:
    """Why a connection failed: pika wraps the system's word twice."""
    while (inner := getattr(error, "exception", None) or next(iter(error.args), None)) and isinstance(inner, Exception):
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, pika.exceptions.ProbableAuthenticationError):
        return "the broker does not know this user and password (ACCESS_REFUSED)"
    if isinstance(error, pika.exceptions.ProbableAccessDeniedError):
        return "this user may not use this vhost"
    return _text(error)


def _text(error: BaseException) -> str:
    return str(error) or repr(error)


def _short(identifier: str) -> str:
    """What fits into a short string, 255 bytes."""
    return identifier.encode("utf-8", "backslashreplace")[:255].decode("utf-8", "ignore")
