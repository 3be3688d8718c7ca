"""Start the ledger: `python -m services.ledger`."""

from libs.common.observability.process import run
from services.ledger.app import serve
from services.ledger.settings import Settings

if __name__ == "__main__":
    run("ledger", Settings, serve)
