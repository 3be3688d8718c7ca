"""Start the grouper."""

from libs.common.observability.process import run
from services.grouper.app import serve
from services.grouper.settings import Settings

if __name__ == "__main__":
    run("grouper", Settings, serve)
