"""Asking one family, wherever its fits run (here, in processes, on a Dask cluster), never longer than allowed.

A family whose kernels release the interpreter runs here, on threads of its own. One that holds the interpreter has its
symbols spread over processes by joblib. With ``backend="dask"`` the same joblib calls go to a cluster. A family that
raises, or is not done in time, answers with that as its reason for every symbol: it costs only itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from quant_dagster.forecasting.families.protocol import NOT_ASKED, Reply, Request
from quant_dagster.forecasting.families.registry import FamilySpec
from quant_dagster.forecasting.parameters import Backend

_LOG = logging.getLogger(__name__)
_CHUNKS_PER_WORKER = 4
"""Chunks of symbols per worker: enough to even out fits of different length and to show progress."""

Answers = list[Reply]


def ask(spec: FamilySpec, request: Request) -> Answers:
    """The family's answer for every column of ``request.tried``; reasons where it raised or took too long.

    Threads cannot be stopped: a family that hangs in this process is left behind on a daemon thread, which does not
    keep the process alive. Processes that hang are killed.
    """
    done: list[Answers] = []
    raised: list[BaseException] = []
    deadline = time.monotonic() + request.settings.time_out_seconds

    def work() -> None:
        try:
            done.append(_spread(spec, request, deadline))
        except Exception as error:  # noqa: BLE001 - recorded and logged below; must not cost the other families
            raised.append(error)

    thread = threading.Thread(target=work, name=f"forecast-{spec.model.value}", daemon=True)
    thread.start()
    thread.join(request.settings.time_out_seconds)
    if done:
        return _checked(spec, done[0], len(request.tried))
    if raised and not isinstance(raised[0], TimeoutError):
        _LOG.error("model family %s failed for all symbols", spec.model.value, exc_info=raised[0])
        return [f"{type(raised[0]).__name__}: {raised[0]}"] * len(request.tried)
    reason = f"no answer within {request.settings.time_out_seconds:g} s"
    _LOG.error("model family %s: %s", spec.model.value, reason)
    return [reason] * len(request.tried)


def _checked(spec: FamilySpec, answers: Answers, columns: int) -> Answers:
    if len(answers) == columns:
        return answers
    reason = f"answered for {len(answers)} symbols, was asked for {columns}"
    _LOG.error("model family %s %s", spec.model.value, reason)
    return [reason] * columns


def _spread(spec: FamilySpec, request: Request, deadline: float) -> Answers:
    remote = request.settings.backend is Backend.DASK and not spec.naive
    if not remote and not spec.holds_interpreter:
        return list(spec.family(request))
    # What is only carried forward is quick and stays here; fits travel.
    due = request.tried if request.refit is None or remote else request.tried & request.refit
    columns = np.flatnonzero(due)
    pieces = 1 if spec.across else min(len(columns), _CHUNKS_PER_WORKER * request.workers)
    if not remote and (pieces <= 1 or request.workers == 1):
        return list(spec.family(request))
    from joblib import Parallel, delayed

    rest = request.tried & ~due
    answers: Answers = [NOT_ASKED] * len(due)
    if rest.any():
        answers = list(spec.family(replace(request, tried=rest)))
    left = max(0.1, deadline - time.monotonic())
    with _backend(request):
        pool = Parallel(n_jobs=request.workers, return_as="generator", timeout=left)
        if spec.across:
            return next(iter(pool([delayed(_piece)(spec, replace(request, progress=None))])))
        chunks, finished = np.array_split(columns, max(1, pieces)), 0
        jobs = (delayed(_piece)(spec, part(request, chunk)) for chunk in chunks)
        for chunk, piece in zip(chunks, pool(jobs), strict=True):
            for j, answer in zip(chunk.tolist(), piece, strict=True):
                answers[j] = answer
            finished += len(chunk)
            if request.progress is not None:
                request.progress(finished, len(columns))
    return answers


def _piece(spec: FamilySpec, request: Request) -> Answers:
    """Runs where the symbols were sent; progress stays behind."""
    return list(spec.family(replace(request, workers=1)))


@contextmanager
def _backend(request: Request) -> Iterator[None]:
    """Joblib's backend for the settings: processes here, or the cluster, whose workers import this package."""
    from joblib import parallel_config

    if request.settings.backend is Backend.LOCAL:
        with parallel_config(backend="loky"):
            yield
        return
    from distributed import Client

    with Client(request.settings.dask_address, timeout=10), parallel_config(backend="dask"):  # type: ignore[no-untyped-call]
        yield


def part(request: Request, columns: np.ndarray) -> Request:
    """The request for some columns only, small enough to travel."""
    history = request.history
    earlier = {place: request.earlier[j] for place, j in enumerate(columns.tolist()) if j in request.earlier}
    return replace(
        request,
        history=replace(
            history,
            returns=np.asfortranarray(history.returns[:, columns]),
            counts=history.counts[columns],
            stale=history.stale[columns],
            mean=history.mean[columns],
            variance=history.variance[columns],
        ),
        panel=request.panel.columns(columns.tolist()),
        tried=request.tried[columns],
        refit=None if request.refit is None else request.refit[columns],
        earlier=earlier,
        progress=None,
    )
