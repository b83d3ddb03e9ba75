"""`python -m services.client`."""

from functools import partial

from services.client.app import build_app
from services.client.settings import ClientSettings
from shared.observing.logs import configure_logging
from shared.observing.tracing import configure_tracing
from shared.serving.server import run
from shared.settings import load_settings

if __name__ == "__main__":
    settings = load_settings(ClientSettings)
    configure_logging("client", settings.log_level, settings.log_format)
    configure_tracing("client", settings.opentelemetry)
    build = partial(build_app, settings)
    run(build, host=settings.client_host, port=settings.client_port, variable="CLIENT_PORT")
