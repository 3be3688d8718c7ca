"""Starts the sandbox."""

from libs.common.observability.process import run
from services.sandbox.app import serve
from services.sandbox.settings import Settings

if __name__ == "__main__":
    run("sandbox", Settings, serve)
