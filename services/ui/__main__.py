"""Start the dashboard."""

from libs.common.observability.process import run
from services.ui.app import serve
from services.ui.settings import Settings

if __name__ == "__main__":
    run("ui", Settings, serve)
