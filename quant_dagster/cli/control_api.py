"""The small HTTP server of ``quant control serve``: see the control mode, stop, set it; for a program or a phone.

Stopping needs no password, so whoever can reach the server can stop trading: it listens on loopback unless told
otherwise. FastAPI takes a second to import; only ``serve`` does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, SecretStr

from quant_dagster.errors import ConfigurationError, ControlError, QuantError
from quant_dagster.risk.control import ControlMode, read_mode, set_mode
from quant_dagster.risk.permission import kill, read_permission
from quant_dagster.settings import Settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.types import canonical_json

if TYPE_CHECKING:
    from fastapi import FastAPI


class KillOrder(BaseModel):
    """Body of POST /kill; it may be ``{}``."""

    actor: str = "unnamed"
    reason: str = "no reason given"


class ControlOrder(BaseModel):
    """Body of POST /control."""

    mode: str
    actor: str
    reason: str
    passphrase: SecretStr | None = None


def control_api(ledger: Ledger, settings: Settings) -> FastAPI:
    """GET /control, POST /kill, POST /control. Refused: 403; not understood: 422; what cannot be done: 503."""
    from fastapi import FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    app = FastAPI(title="Control of the trading desk", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/control")
    def show() -> Any:
        return _plain(control_facts(ledger, settings))

    # A body is asked for, and JSON, so that no web page in a browser on this machine can stop the desk.
    @app.post("/kill")
    def stop(order: KillOrder) -> Any:
        new = kill(ledger, settings, settings.home, actor=order.actor, reason=order.reason, automatic=False)
        return {"killed": True, "new": new}

    @app.post("/control")
    def change(order: ControlOrder) -> Any:
        passphrase = order.passphrase.get_secret_value() if order.passphrase else None
        mode = parse_mode(order.mode)
        set_mode(ledger, mode, person=order.actor, reason=order.reason, passphrase=passphrase, settings=settings)
        return _plain(control_facts(ledger, settings))

    @app.exception_handler(QuantError)
    def refused(_request: Request, error: QuantError) -> JSONResponse:
        code = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 503)
        return JSONResponse({"error": str(error)}, status_code=code)

    @app.exception_handler(RequestValidationError)
    def unreadable(_request: Request, error: RequestValidationError) -> JSONResponse:
        # Without what was sent: a passphrase may be in it.
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return JSONResponse({"error": f"the request cannot be understood: {said}"}, status_code=422)

    return app


def control_facts(ledger: Ledger, settings: Settings) -> dict[str, Any]:
    """The stored mode, and what may be traded now and why."""
    stored = read_mode(ledger)
    allowed = read_permission(ledger, settings, settings.home)
    facts = {"mode": stored.mode.name, "actor": stored.actor, "reason": stored.reason, "since": stored.since}
    return facts | {"effective": allowed.mode.name, "codes": list(allowed.codes), "because": list(allowed.reasons)}


def parse_mode(text: str) -> ControlMode:
    """A mode by its name, in any case."""
    if text.upper() not in ControlMode.__members__:
        raise ConfigurationError(f"control mode '{text}' is unknown; choose from {', '.join(ControlMode.__members__)}")
    return ControlMode[text.upper()]


_STATUS: dict[type[QuantError], int] = {ControlError: 403, ConfigurationError: 422}


def _plain(facts: dict[str, Any]) -> Any:
    return json.loads(canonical_json(facts))
