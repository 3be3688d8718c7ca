"""Start a simulator."""

from libs.common.observability.process import run
from services.simulator.app import serve
from services.simulator.settings import Settings

if __name__ == "__main__":
    run("simulator", Settings, serve)
