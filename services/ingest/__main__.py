"""Start ingest."""

from libs.common.observability.process import run
from services.ingest.app import serve
from services.ingest.settings import Settings

if __name__ == "__main__":
    run("ingest", Settings, serve)
