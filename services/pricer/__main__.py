"""Start the pricer."""

from libs.common.observability.process import run
from services.pricer.app import serve
from services.pricer.settings import Settings

if __name__ == "__main__":
    run("pricer", Settings, serve)
