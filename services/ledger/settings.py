"""What the ledger needs of its environment: nothing but the connections every service has."""

from libs.common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Settings of the ledger."""
