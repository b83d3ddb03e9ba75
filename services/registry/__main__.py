"""`python -m services.registry`."""

from functools import partial

from services.registry.app import build_app
from services.registry.settings import RegistrySettings
from shared.observing.logs import configure_logging
from shared.observing.tracing import configure_tracing
from shared.serving.server import run
from shared.settings import load_settings

if __name__ == "__main__":
    settings = load_settings(RegistrySettings)
    configure_logging("registry", settings.log_level, settings.log_format)
    configure_tracing("registry", settings.opentelemetry)
    run(
        partial(build_app, settings),
        host=settings.registry_host,
        port=settings.registry_port,
        variable="REGISTRY_PORT",
        connections=settings.registry_connections,
        connections_per_address=settings.registry_connections_per_address,
        proxies=settings.registry_proxies,
    )
