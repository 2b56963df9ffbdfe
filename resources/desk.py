"""The desk as a resource: one `TradingContext` per process and configuration."""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from quant_dagster.cycle.context import TradingContext
from quant_dagster.observability.logs import configure_logging
from quant_dagster.operations.alerts.notifications import Notifier
from quant_dagster.settings import load_settings

if TYPE_CHECKING:
    from quant_dagster.cycle.session import SessionCycle


class DeskResource(dg.ConfigurableResource):
    """Lake, ledger, vendors, broker and feature store, wired by the settings tree."""

    universe: str | None = Field(None, description="A file of config/universes; empty takes the setting.")
    symbols: list[str] = Field(default_factory=list, description="Only these symbols; empty takes all.")

    _context: TradingContext | None = PrivateAttr(default=None)

    def open(self) -> TradingContext:
        """The desk's parts; settings are read again by every run."""
        if self._context is None:
            settings = load_settings({"universe": self.universe} if self.universe else None)
            configure_logging(settings.home)
            self._context = TradingContext(settings, symbols=self.symbols or None)
        return self._context

    def session(self, session: date) -> "SessionCycle":
        """The stages of one session."""
        # Models and features are compiled: a code location that only lists what there is does without them.
        from quant_dagster.cycle.session import SessionCycle

        return SessionCycle(self.open(), session)

    def notifier(self) -> Notifier:
        """Where alerts go."""
        context = self.open()
        context.ledger.upgrade()
        return Notifier(context.settings.notifications, context.ledger)
