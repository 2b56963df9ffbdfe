"""How well services answer: observations of single requests, and a score from the newest of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from sqlalchemy import Connection, case, func, select

from quant_dagster.errors import LedgerError
from quant_dagster.resilience.outcomes import ANSWERED_WITHOUT_DATA, Outcome
from quant_dagster.settings import FailoverSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import service_observations

KEPT = 500
"""Newest observations of a service that are kept."""

_LONGEST_OPERATION = 48
_NO_FAILURE = frozenset({Outcome.OK}) | ANSWERED_WITHOUT_DATA


@dataclass(frozen=True)
class Health:
    """How a service did in its newest requests.

    Attributes
    ----------
    score
        0 (unusable) to 1; see `health`. 1 for a service that was never asked.
    observations
        Requests the score is taken from.
    error_rate
        Share of them that failed; an answer without data counts half.
    median_seconds
        Median latency of those that were answered; None where none was.
    last_success, last_failure
        Newest request that brought data, newest that failed, of the few hundred kept. An answer without data is
        neither.
    detail
        All of it in a sentence.
    """

    name: str
    score: float
    observations: int
    error_rate: float
    median_seconds: float | None
    last_success: datetime | None
    last_failure: datetime | None
    detail: str


def health(
    ledger: Ledger, names: Iterable[str], settings: FailoverSettings, quality: Mapping[str, float] | None = None
) -> dict[str, Health]:
    """Score services by their newest ``settings.observations`` requests.

    ``score = (1 - error_rate) * 1 / (1 + median_seconds / slow_seconds) * quality``

    - ``error_rate = (failed + 0.5 * answered without data) / observations``. A service that answers everything with
      "there is none" is not well, and not down either.
    - The latency part is 1 for an immediate answer and 0.5 for a median of ``slow_seconds``. Only answered requests
      are timed: a refusal within a millisecond is not a fast service.
    - ``quality`` is given by the caller, 0 to 1 per name: the mean quality score of the bars the vendor delivered.
      A name that is absent counts 1.

    Without observations the first two parts are 1: nothing speaks against a service that was never asked.

    Raises
    ------
    LedgerError
        The observations cannot be read.
    ValueError
        A quality is not within 0 and 1.
    """
    result = {}
    with ledger.read() as connection:
        for name in names:
            part = 1.0 if quality is None else quality.get(name, 1.0)
            if not 0.0 <= part <= 1.0:
                raise ValueError(f"quality of service '{name}' is {part}, not within 0 and 1")
            try:
                result[name] = _health(connection, name, settings, part)
            except (ValueError, TypeError) as error:  # a column that does not hold what its type says
                raise LedgerError(f"observations of service '{name}' cannot be read: {error}") from error
    return result


def record(
    ledger: Ledger, name: str, operation: str, outcome: Outcome, seconds: float, detail: str, at: datetime
) -> None:
    """Append one request's outcome; the oldest beyond ``KEPT`` are dropped.

    Parameters
    ----------
    operation
        What was asked for, in a word (``daily_bars``); 48 characters are kept.
    seconds
        How long the answer, or the failure, took.
    detail
        Text of the error, empty for a success.
    """
    column = service_observations.c
    with ledger.write() as connection:
        newest = connection.execute(select(func.max(column.sequence)).where(column.name == name)).scalar()
        sequence = (newest or 0) + 1
        connection.execute(
            service_observations.insert().values(
                name=name,
                sequence=sequence,
                operation=operation[:_LONGEST_OPERATION],
                outcome=outcome.value,
                seconds=seconds,
                detail=detail,
                recorded_at=at,
            )
        )
        connection.execute(service_observations.delete().where(column.name == name, column.sequence <= sequence - KEPT))


def _health(connection: Connection, name: str, settings: FailoverSettings, quality: float) -> Health:
    column = service_observations.c
    newest = (
        select(column.outcome, column.seconds, column.detail)
        .where(column.name == name)
        .order_by(column.sequence.desc())
        .limit(settings.observations)
    )
    rows = connection.execute(newest).all()
    if not rows:
        return Health(name, quality, 0, 0.0, None, None, None, "never asked")
    failures = [row for row in rows if row.outcome not in _NO_FAILURE]
    empty = sum(row.outcome in ANSWERED_WITHOUT_DATA for row in rows)
    error_rate = (len(failures) + 0.5 * empty) / len(rows)
    answered = [float(row.seconds) for row in rows if row.outcome in _NO_FAILURE]
    median_seconds = median(answered) if answered else None
    latency = 1.0 / (1.0 + (median_seconds or 0.0) / settings.slow_seconds)
    last = connection.execute(
        select(
            func.max(case((column.outcome == Outcome.OK.value, column.recorded_at))).label("success"),
            func.max(case((column.outcome.not_in([o.value for o in _NO_FAILURE]), column.recorded_at))).label(
                "failure"
            ),
        ).where(column.name == name)
    ).one()
    detail = f"{len(failures)} of {len(rows)} requests failed, {empty} found no data"
    if median_seconds is not None:
        detail += f", median {median_seconds:.2f} s"
    if failures:
        detail += f"; last failure: {failures[0].outcome}: {failures[0].detail}"
    score = (1.0 - error_rate) * latency * quality
    return Health(name, score, len(rows), error_rate, median_seconds, last.success, last.failure, detail)
