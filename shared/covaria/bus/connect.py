"""How a connection to RabbitMQ is made: credentials, TLS with host name check, no plaintext beyond loopback."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from urllib.parse import unquote

import pika

from covaria.errors import InvalidInput
from covaria.settings import Settings, read_broker_url


def connection_parameters(settings: Settings) -> pika.ConnectionParameters:
    """pika's parameters. Raises InvalidInput for plaintext to a host that is not loopback, or unreadable TLS files."""
    parts = read_broker_url(settings.amqp_url())
    host = parts.hostname or "localhost"
    secure = parts.scheme == "amqps"
    if not secure and not settings.broker_allow_plaintext and not is_loopback(host):
        raise InvalidInput(
            f"COVARIA_BROKER_URL: refuses to send a password in the clear to {host}",
            hint="use amqps://, or set COVARIA_BROKER_ALLOW_PLAINTEXT=true on a closed network",
        )
    vhost = unquote(parts.path[1:]) if len(parts.path) > 1 else "/"
    user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
    return pika.ConnectionParameters(
        host=host,
        port=parts.port or (5671 if secure else 5672),
        virtual_host=vhost,
        credentials=pika.PlainCredentials(user, password, erase_on_connect=False),
        heartbeat=settings.broker_heartbeat_s,
        blocked_connection_timeout=settings.broker_timeout_s,
        socket_timeout=settings.broker_timeout_s,
        stack_timeout=settings.broker_timeout_s + 5,
        connection_attempts=1,
        ssl_options=pika.SSLOptions(tls_context(settings), host) if secure else None,
        client_properties={"connection_name": f"covaria {socket.gethostname()} {os.getpid()}"},
    )


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Verifies the broker's certificate and host name; offers our own certificate when one is set."""
    try:
        context = ssl.create_default_context(cafile=settings.broker_ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.broker_cert_file is not None:
            context.load_cert_chain(settings.broker_cert_file, settings.broker_key_file)
    except (OSError, ssl.SSLError) as error:
        names = f"{settings.broker_ca_file}, {settings.broker_cert_file}, {settings.broker_key_file}"
        raise InvalidInput(
            f"TLS files cannot be used ({names}): {error}", hint="COVARIA_BROKER_CA_FILE and its kin"
        ) from error
    return context


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
