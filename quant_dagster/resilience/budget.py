"""Request budgets: how often a service may be asked in a minute and in a day, counted over all processes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, select

from quant_dagster.errors import BudgetExhaustedError, LedgerError
from quant_dagster.resilience.outcomes import service_label
from quant_dagster.storage.ledger import Clock, Ledger, insert_new
from quant_dagster.storage.ledger_tables import request_budgets

MINUTE = 60
DAY = 86_400
_UNITS = {MINUTE: "minute", DAY: "day (UTC)"}


class RequestBudget:
    """Requests a service may be sent in each minute and each day.

    Windows are fixed and aligned to UTC (a day is midnight to midnight), as vendors count them. All processes that
    share the ledger share the budget.

    Parameters
    ----------
    per_minute, per_day
        Limits; None: no such limit.
    clock
        Wall clock; the ledger's own by default.
    """

    def __init__(
        self, ledger: Ledger, name: str, *, per_minute: int | None, per_day: int | None, clock: Clock | None = None
    ) -> None:
        self.ledger, self.name = ledger, name
        self.clock = clock or ledger.now
        limits = ((MINUTE, per_minute), (DAY, per_day))
        self.limits = {seconds: limit for seconds, limit in limits if limit is not None}

    def take(self) -> None:
        """Count one request, in every window or in none.

        Raises
        ------
        BudgetExhaustedError
            A window has none left, or what was used cannot be read; ``retry_after`` is the time to that window's end.
        """
        if not self.limits:
            return
        try:
            with self.ledger.write() as connection:
                now = self.clock()
                used = {seconds: self._used(connection, seconds, now) for seconds in self.limits}
                for seconds, count in used.items():
                    self._count(connection, seconds, now, count)
        except (LedgerError, OSError) as error:
            seconds = max(self.limits)
            raise self._refusal(
                seconds, self.clock(), f"it cannot be read, so it counts as used up ({error})"
            ) from error

    def _used(self, connection: Connection, seconds: int, now: datetime) -> int:
        """Requests of the present window, where that leaves room for one more."""
        row = connection.execute(
            select(request_budgets.c.used).where(
                *self._window(seconds), request_budgets.c.window_start == window_start(now, seconds)
            )
        ).first()
        used = row.used if row else 0
        if not isinstance(used, int) or used < 0:
            raise self._refusal(seconds, now, f"it cannot be read (used: {used!r}), so it counts as used up")
        if used >= self.limits[seconds]:
            raise self._refusal(seconds, now, "all of it is used")
        return used

    def _count(self, connection: Connection, seconds: int, now: datetime, used: int) -> None:
        begun = window_start(now, seconds)
        row = {"name": self.name, "window_seconds": seconds, "window_start": begun, "used": used + 1}
        if insert_new(connection, request_budgets, row):
            # The window before is kept: the clock of another machine may still be in it.
            ended = begun - timedelta(seconds=seconds)
            connection.execute(
                request_budgets.delete().where(*self._window(seconds), request_budgets.c.window_start < ended)
            )
        else:
            present = (*self._window(seconds), request_budgets.c.window_start == begun)
            connection.execute(request_budgets.update().where(*present).values(used=used + 1))

    def _window(self, seconds: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return request_budgets.c.name == self.name, request_budgets.c.window_seconds == seconds

    def _refusal(self, seconds: int, now: datetime, why: str) -> BudgetExhaustedError:
        left = (window_start(now, seconds) + timedelta(seconds=seconds) - now).total_seconds()
        budget = f"not asked: budget of {self.limits[seconds]} requests a {_UNITS[seconds]}: {why}"
        return BudgetExhaustedError(service_label(self.name), budget, left)


def window_start(now: datetime, seconds: int) -> datetime:
    """First instant of the window of ``seconds`` that ``now`` is in."""
    return datetime.fromtimestamp(int(now.timestamp() // seconds) * seconds, UTC)
