"""The frame of every process: logs, metrics, health, the small HTTP door, start and stop."""

from libs.common.observability.health import Health
from libs.common.observability.http import serve_http
from libs.common.observability.logging import configure
from libs.common.observability.process import run

__all__ = ["Health", "configure", "run", "serve_http"]
