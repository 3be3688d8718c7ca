"""What the command line asks of the dashboard: a login link."""

from urllib.parse import quote

from libs.common.db.engine import make_engine
from services.ui.auth import new_token, token_hash
from services.ui.queries.logins import keep_token


async def new_login_link(database_url: str, base_url: str) -> str:
    """Return a link that signs the admin in once, within ten minutes; raises Unavailable without the database."""
    token = new_token()
    engine = make_engine(database_url, application="shadowbook-login", pool_size=1)
    try:
        await keep_token(engine, token_hash(token))
    finally:
        await engine.dispose()
    return f"{base_url.rstrip('/')}/login?token={quote(token, safe='')}"
