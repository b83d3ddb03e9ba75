"""`python -m services.puller`."""

from functools import partial

from services.puller.app import build_app
from services.puller.settings import PullerSettings
from shared.observing.logs import configure_logging
from shared.observing.tracing import configure_tracing
from shared.serving.server import run
from shared.settings import load_settings

if __name__ == "__main__":
    settings = load_settings(PullerSettings)
    configure_logging("puller", settings.log_level, settings.log_format)
    configure_tracing("puller", settings.opentelemetry)
    build = partial(build_app, settings)
    run(build, host=settings.puller_host, port=settings.puller_port, variable="PULLER_PORT")
