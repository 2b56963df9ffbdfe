"""``quant signals``: what every source says, the pairs, how sources have done lately, and what they earned."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import typer

from quant_dagster.cli.options import (
    EndOption,
    Json,
    Limit,
    SessionOption,
    StartOption,
    Symbols,
    open_context,
    open_existing,
    parse_day,
    parse_symbols,
)

if TYPE_CHECKING:
    import polars as pl

app = typer.Typer(help="Signal sources: what they say, the pairs, how they have done, what they earned.")


@app.command()
def show(session: SessionOption = None, symbols: Symbols = None, limit: Limit = 60, json: Json = False) -> None:
    """Signals of a session (by default the newest), by priority, with the feature flags as they are now."""
    import polars as pl

    from quant_dagster.cli.output import errors, print_rows
    from quant_dagster.strategies.flags import flag_problem, hot_flags

    context = open_context()
    day, rows = _session_rows(context, "signals", session, parse_symbols(symbols))
    flags = hot_flags(context.settings)
    problem = flag_problem(context.settings)
    if problem is not None:
        errors.print(f"feature flags: the settings files cannot be used, the last good ones stay: {problem}",
                     style="yellow", markup=False)  # fmt: skip
    shown = rows.with_columns(
        pl.col("alpha").replace_strict(dict(flags), default=False, return_dtype=pl.Boolean).alias("enabled_now")
    ).sort("priority", "symbol", "alpha", descending=[True, False, False], nulls_last=True)
    columns = ["symbol", "alpha", "direction", "strength", "confidence", "risk", "priority", "enabled", "enabled_now",
               "reasons"]  # fmt: skip
    spoken = shown if json else shown.filter(pl.col("direction") != 0).head(limit)
    print_rows(spoken.to_dicts(), columns, title=f"Signals of {day}", as_json=json)


@app.command()
def pairs(session: SessionOption = None, json: Json = False) -> None:
    """Cointegrated pairs that are followed, and where their spreads stand."""
    from quant_dagster.cli.output import print_rows

    day, rows = _session_rows(open_context(), "pairs", session, None)
    columns = ["first", "second", "state", "z", "hedge_ratio", "half_life", "engle_granger_p", "johansen_trace",
               "formed_on", "detail"]  # fmt: skip
    print_rows(rows.to_dicts(), columns, title=f"Pairs of {day}", as_json=json)


@app.command()
def decay(session: SessionOption = None, json: Json = False) -> None:
    """How much information every source had lately, whether it fades, and what share it is given."""
    from quant_dagster.cli.output import print_rows

    day, rows = _session_rows(open_context(), "alpha_performance", session, None)
    columns = ["alpha", "horizon", "signals", "information_coefficient", "hit_rate", "mean_return", "t_statistic",
               "half_life", "state", "allocation"]  # fmt: skip
    print_rows(rows.to_dicts(), columns, title=f"Alphas at {day}", as_json=json)


@app.command()
def attribution(
    session: SessionOption = None, start: StartOption = None, end: EndOption = None, json: Json = False
) -> None:
    """What each alpha's positions earned, commission included; of one session, or of a range."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.cycle.signal_selection import attribution as of
    from quant_dagster.strategies.attribution import shares

    context = open_existing()
    day = parse_day(session, "--session")
    first, last = (day, day) if day is not None else (parse_day(start, "--start"), parse_day(end, "--end"))
    found = of(context, first, last)
    part = shares(found)
    rows = [
        {
            "alpha": one.alpha,
            "pnl": one.pnl,
            "share": part[one.alpha],
            "position_sessions": one.position_sessions,
            "symbols": one.symbols,
        }
        for one in found
    ]
    columns = ["alpha", "pnl", "share", "position_sessions", "symbols"]
    print_rows(rows, columns, title="Profit and loss by alpha", as_json=json)


def _session_rows(
    context: Any, table: str, session: str | None, symbols: list[str] | None
) -> tuple[date | None, pl.DataFrame]:
    """A session's rows of a lake table; by default the newest session's."""
    day = parse_day(session, "--session")
    if day is None:
        newest = context.lake.read(table, columns=["session"], ordered=False)["session"].max()
        day = newest if isinstance(newest, date) else None
    if day is None:
        return None, context.lake.read(table)
    return day, context.lake.read(table, symbols=symbols, start=day, end=day)
