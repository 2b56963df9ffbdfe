"""Rebuilding a recorded order book: the desk's book beside plain dictionaries with max and min.

    python benchmarks/order_book.py

Both sides get the same parsed changes of a recording, give best bid and ask with their sizes after every one of them,
and must give the same. The plain book is what a first version looks like: two dictionaries, ``max`` and ``min`` over
their prices. The desk's side also checks the sequence, crossed books, and for which prices the book is complete.
The best of three runs. Reads the two recordings lob_binance_*.gz from ../shared/data, or from the folder
QUANT_TEST_DATA names.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.market_data.order_book.binance import read_recording  # noqa: E402
from quant_dagster.market_data.order_book.changes import BookChange  # noqa: E402
from quant_dagster.market_data.order_book.rebuild import common_step, rebuild_file  # noqa: E402
from quant_dagster.market_data.order_book.sync import Outcome, SyncedBook, SyncState  # noqa: E402
from quant_dagster.market_data.vendors.protocol import BookSnapshot  # noqa: E402

RECORDINGS = ("lob_binance_usdm_btcusdt_20240808.gz", "lob_binance_spot_btcusdt_20240809.gz")
Top = tuple[int, float, float, float, float]
Message = BookChange | BookSnapshot


def main() -> None:
    """Measure both sides of each recording; print rates, the ratio and whether the results are the same."""
    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT.parent / "shared" / "data"))
    for name in RECORDINGS:
        path = folder / name
        if not path.exists():
            sys.exit(f"{path} is not there: set QUANT_TEST_DATA to the folder that holds it")
        read = [one.message for one in read_recording(path)]
        messages: list[Message] = [one for one in read if isinstance(one, BookChange | BookSnapshot)]
        changes = [one for one in messages if isinstance(one, BookChange)]
        levels = sum(len(one.bids) + len(one.asks) for one in changes)
        step = common_step(changes)
        ours, bare = best_of(3, lambda m=messages: desks_book(m, None))
        watched, seconds = best_of(3, lambda m=messages, s=step: desks_book(m, s))
        theirs, plain_seconds = best_of(3, lambda m=messages: plain_book(m))
        _, whole = best_of(1, lambda p=path: rebuild_file(p).top.rows())
        print(f"{name}: {len(changes)} changes of {levels} levels, {len(read)} messages")
        print(f"  desk's book, sequence checked: {len(changes) / bare:,.0f} changes/s ({levels / bare:,.0f} levels/s)")
        print(f"  ... and where it is complete:  {len(changes) / seconds:,.0f} changes/s")
        print(f"  dictionaries with max and min: {len(changes) / plain_seconds:,.0f} changes/s")
        print(f"  ratio {plain_seconds / bare:.1f}x, with completeness {plain_seconds / seconds:.1f}x; "
              f"same results: {ours == theirs == watched} ({len(ours)} tops)")  # fmt: skip
        print(f"  from the file to the compared result: {len(read) / whole:,.0f} messages/s, {whole:.2f} s")


def desks_book(messages: Sequence[Message], tick_size: float | None) -> list[Top]:
    """The top after every change applied."""
    book = SyncedBook("binance", "BTCUSDT", tick_size=tick_size)
    with_snapshot = any(isinstance(one, BookSnapshot) for one in messages)
    tops: list[Top] = []
    for message in messages:
        if isinstance(message, BookSnapshot):
            book.apply_snapshot(message)
            continue
        if book.state is SyncState.WAITING and not with_snapshot:
            book.begin_without_snapshot(message)
        elif book.apply(message) is not Outcome.APPLIED:
            continue
        bid, ask = book.book.best_bid, book.book.best_ask
        if bid is not None and ask is not None:
            tops.append((message.last, *bid, *ask))
    return tops


def plain_book(messages: Sequence[Message]) -> list[Top]:
    """The same with two dictionaries; the sequence is taken on trust."""
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    tops: list[Top] = []
    waiting = [one for one in messages if isinstance(one, BookSnapshot)]
    kept: list[BookChange] = []
    for message in messages:
        if isinstance(message, BookSnapshot):
            bids, asks = dict(message.bids), dict(message.asks)
            waiting.clear()
            for change in kept:
                if message.sequence is not None and change.last > message.sequence:
                    _set(bids, asks, change)
            continue
        if waiting:
            kept.append(message)
            continue
        _set(bids, asks, message)
        if bids and asks:
            bid, ask = max(bids), min(asks)
            tops.append((message.last, bid, bids[bid], ask, asks[ask]))
    return tops


def _set(bids: dict[float, float], asks: dict[float, float], change: BookChange) -> None:
    for side, levels in ((bids, change.bids), (asks, change.asks)):
        for price, size in levels:
            if size:
                side[price] = size
            else:
                side.pop(price, None)


def best_of(runs: int, work: Callable[[], list[Top]]) -> tuple[list[Top], float]:
    """What ``work`` returns, and the shortest of its runs in seconds."""
    shortest, result = float("inf"), []
    for _ in range(runs):
        started = time.perf_counter()
        result = work()
        shortest = min(shortest, time.perf_counter() - started)
    return result, shortest


if __name__ == "__main__":
    main()
