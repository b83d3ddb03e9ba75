"""`python -m services.ingest`."""

from functools import partial

from services.ingest.app import build_app
from services.ingest.settings import IngestSettings
from shared.observing.logs import configure_logging
from shared.observing.tracing import configure_tracing
from shared.serving.server import run
from shared.settings import load_settings

if __name__ == "__main__":
    settings = load_settings(IngestSettings)
    configure_logging("ingest", settings.log_level, settings.log_format)
    configure_tracing("ingest", settings.opentelemetry)
    build = partial(build_app, settings)
    run(build, host=settings.ingest_host, port=settings.ingest_port, variable="INGEST_PORT")
