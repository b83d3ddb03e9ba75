"""The registry's settings; each field is an environment variable of the same name in capitals."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from services.registry.operator_tokens import OperatorTokens
from services.registry.rate_limiter import rates_of
from shared.outbound.policy import USUAL_PORTS
from shared.serving.page_settings import Hosts, Origins
from shared.settings import (
    CaFile,
    DatabaseUrl,
    Listed,
    ManagementUrl,
    Networks,
    Port,
    Ports,
    PublicUrl,
    RabbitMQUrl,
    Seconds,
    ServiceSettings,
    TokenKeys,
    Tokens,
)

CAPTURES_READER: Final = "pullsync_captures_reader"


def _proxy(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError as error:
        message = "must be addresses or networks such as 10.0.0.5 or 172.18.0.0/16, with commas between them"
        raise ValueError(message) from error


def _rate(value: str) -> str:
    rates_of(value)
    return value


Proxies = Annotated[tuple[Annotated[str, AfterValidator(_proxy)], ...], NoDecode, Listed]
Rate = Annotated[str, AfterValidator(_rate)]


class RegistrySettings(ServiceSettings):
    """Defaults are for one machine."""

    database_url: DatabaseUrl = "postgresql://pullsync_registry:pullsync@localhost:5432/pullsync"
    captures_database_url: Annotated[DatabaseUrl | None, BeforeValidator(lambda value: value or None)] = None
    """By which it reads what ingest publishes; if not set DATABASE_URL, with the role pullsync_captures_reader."""
    rabbitmq_url: RabbitMQUrl = "amqp://guest:guest@localhost:5672/"
    rabbitmq_declare: bool = True
    """Whether to declare exchanges and queues; without, RabbitMQ must have them, and its user needs fewer rights."""
    rabbitmq_management_url: Annotated[
        ManagementUrl | None, BeforeValidator(lambda value: value or None), Field(repr=False)
    ] = None
    """RabbitMQ's management API with a user who may look and his password; without it nobody is told of the queues."""
    rabbitmq_management_link: Annotated[PublicUrl | None, BeforeValidator(lambda value: value or None)] = None
    """Where browsers find RabbitMQ's management UI; without it there is no link."""
    registry_host: str = "127.0.0.1"
    registry_port: Port = 8000
    operator_tokens: OperatorTokens = ()
    """`read:<token>`, `operate:<token>`, `admin:<token>`, several with commas or lines between them."""
    registration_tokens: Tokens = ()
    """One of them is needed to register; empty for none."""
    service_tokens: Tokens = ()
    """One of them is needed to claim; empty for none."""
    pull_token_keys: TokenKeys = ()
    """Clients' tokens are made by the first of them, and those by the others still recognised; empty for no tokens."""
    registry_anonymous: bool = False
    """Whether it may be reached from elsewhere without operators' tokens."""
    registry_connections: Annotated[int, Field(ge=1)] = 8_192
    """Most connections at once."""
    registry_connections_per_address: Annotated[int, Field(ge=1)] = 6_144
    """Most of them from one address."""
    registry_proxies: Proxies = ()
    """Addresses and networks of proxies, of which it is believed for whom they call."""
    registry_cors_origins: Origins = ()
    """Web origins whose pages may call the API."""
    registry_hosts: Hosts = ()
    """Names by which it is called, beside localhost and IP addresses, as long as it has no operators' tokens."""
    registry_limit_registrations: Rate = "10000/minute;30000/hour"
    """Most registrations from one address, by each registry; 0 for no limit."""
    registry_limit_syncs: Rate = "60/minute"
    """Most syncs on demand from one address, by each registry; 0 for no limit."""
    registry_limit_nudges: Rate = "60000/minute"
    """Most nudges from one address, by each registry; 0 for no limit. Each client's are spaced beside that."""
    registry_limit_wrong_tokens: Rate = "600/minute"
    """Most wrong tokens of clients from one address, for which the database is asked; 0 for no limit."""

    pull_sync_interval: Annotated[int, Field(ge=5, le=86_400)] = 30
    """Seconds between two pulls of a client, until an operator sets another interval."""
    pull_sync_timeout: Seconds = 15.0
    """Seconds for a client's whole answer."""
    pull_sync_lease: Annotated[int, Field(ge=5, le=86_400)] = 120
    """Seconds after which a pull that was not settled is taken for lost; well above the timeout."""
    pull_sync_backoff_cap: Annotated[int, Field(ge=5, le=86_400)] = 900
    """Most seconds between two pulls of a client that fails."""
    pull_sync_in_flight: Annotated[int, Field(ge=1)] = 2_000
    """Most leases at once while pulls on demand are handed out."""
    pull_sync_inactive_after: Annotated[int, Field(ge=60, le=86_400 * 365)] = 86_400
    """Seconds without success after which a client that fails is taken for gone, and only probed."""
    pull_sync_probe_interval: Annotated[int, Field(ge=5, le=86_400)] = 3_600
    """Seconds between two pulls of an inactive client, more or less."""
    pull_sync_nudge_spacing: Seconds = 1.0
    """Seconds between two pulls of a client for its nudges, in the long run."""
    pull_sync_nudge_burst: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Pulls for nudges that a client may have at once, before they are spaced."""
    pull_sync_cleanup_interval: Annotated[int, Field(ge=60)] = 3_600
    pull_sync_retention_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    """Days without any success after which a client is removed; it may hold captures that exist nowhere else."""
    pull_sync_history_days: Annotated[int, Field(ge=1, le=3_650)] = 7
    """Days for which it is kept what became of a pull that stored something or failed."""
    pull_sync_networks: Networks = frozenset({"public", "private", "loopback"})
    """Where clients may live."""
    pull_sync_ports: Ports = USUAL_PORTS
    """Where clients may listen."""
    pull_sync_ca_file: CaFile = None
    """Certificates of private authorities, which clients may have theirs from; beside those of the system."""

    @property
    def reading_captures(self) -> str:
        """The URL of the database by which captures are read."""
        if self.captures_database_url is not None:
            return self.captures_database_url
        parts = urlsplit(self.database_url)
        login, at, address = parts.netloc.rpartition("@")
        _, colon, password = login.partition(":")
        return urlunsplit(parts._replace(netloc=f"{CAPTURES_READER}{colon}{password}{at or '@'}{address}"))
