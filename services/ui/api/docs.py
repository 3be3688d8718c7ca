"""GET /api/docs: the API in words, made from its own OpenAPI description; nothing is fetched from elsewhere."""

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from services.ui.parts.html import esc
from services.ui.parts.shell import document, shell


def router() -> APIRouter:
    """Return the routes of the description and its page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/openapi.json")
    async def openapi(request: Request) -> JSONResponse:
        return JSONResponse(request.app.openapi())

    @routes.get("/docs")
    async def docs(request: Request) -> HTMLResponse:
        description = request.app.openapi()
        parts = [
            _operation(method, path, operation)
            for path, methods in description["paths"].items()
            for method, operation in methods.items()
        ]
        schemas = "".join(_schema(name, each) for name, each in description["components"]["schemas"].items())
        body = (
            f'<div class="sb-with-nav">{shell("code", "API")}<main class="sb-doc" id="main" tabindex="-1">'
            "<p>Amounts are integer micros of USDC, times are UTC. Requests need the session cookie; writes must come "
            'from the dashboard\'s own origin. <a class="sb-link" href="/api/openapi.json">OpenAPI description</a></p>'
            f'{"".join(parts)}<section class="sb-panel"><h2>Schemas</h2>{schemas}</section></main></div>'
        )
        return HTMLResponse(document("API", body))

    return routes


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    inputs = {
        "parameters": operation.get("parameters", []),
        "body": operation.get("requestBody", {}).get("content", {}),
    }
    given = {name: value for name, value in inputs.items() if value}
    details = f'<details><summary>Input</summary><pre tabindex="0">{_json(given)}</pre></details>' if given else ""
    answers = ", ".join(operation.get("responses", {}))
    return (
        f'<section class="sb-panel"><h2><span class="sb-chip sb-ex">{esc(method.upper())}</span>{esc(path)}</h2>'
        f"<p>{esc(operation.get('description', ''))}</p><p>Answers: {esc(answers)}</p>{details}</section>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    return f'<details><summary>{esc(name)}</summary><pre tabindex="0">{_json(schema)}</pre></details>'


def _json(value: object) -> str:
    return esc(json.dumps(value, indent=2))
