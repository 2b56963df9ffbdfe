"""Commands about models: judge them out of sample, list them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import typer

from quant_dagster.cli.options import (
    EndOption,
    Json,
    Sources,
    Symbols,
    UniverseOption,
    Vendor,
    VendorPath,
    Workers,
    open_context,
    parse_day,
    parse_symbols,
)
from quant_dagster.errors import ConfigurationError

Models = Annotated[str, typer.Option("--models", metavar="A,B|all", help="Models to judge; 'all': what the desk asks.")]
Origins = Annotated[int | None, typer.Option("--sessions", min=20, help="Sessions forecast from; default: settings.")]
SchemeOption = Annotated[str, typer.Option("--scheme", help="walk_forward, blocked or both.")]
_SCHEMES = {"walk_forward": ("walk_forward",), "blocked": ("blocked",), "both": ("walk_forward", "blocked")}
_ORDER = {"winner": 0, "no_better": 1, "naive": 2, "loser": 3, "not_judged": 4}


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    app.command()(validate)
    app.command()(models)


def validate(
    models: Models = "all",
    sessions: Origins = None,
    symbols: Symbols = None,
    end: EndOption = None,
    scheme: SchemeOption = "walk_forward",
    workers: Workers = None,
    vendor: Vendor = None,
    path: VendorPath = None,
    universe: UniverseOption = None,
    source: Sources = None,
    json: Json = False,
) -> None:
    """Judge every model against the naive forecast of the same outcomes, out of sample, and give it its weight.

    Each origin is forecast with the code the desk forecasts with, from what was known then. Losers count for nothing
    in the desk's forecasts from now on.
    """
    from quant_dagster.cli.output import console, print_json, print_rows, progress_bar
    from quant_dagster.cycle.validation import validate as judge

    if scheme not in _SCHEMES:
        raise ConfigurationError(f"--scheme '{scheme}' is not known; write one of {', '.join(_SCHEMES)}")
    with progress_bar(quiet=json) as progress:
        context = open_context(
            symbols, progress, workers=workers, vendor=vendor, path=path, universe=universe, sources=source
        )
        done = judge(
            context,
            models=None if models == "all" else _names(models),
            sessions=sessions or context.settings.forecasting.validation.sessions,
            symbols=parse_symbols(symbols),
            end=parse_day(end, "--end"),
            schemes=_SCHEMES[scheme],
        )
    rows = done.scores.to_dicts()
    if json:
        facts: dict[str, Any] = {"session": done.session, "symbols": list(done.symbols), "events": done.events}
        print_json(facts | {"scores": rows})
        return
    for one in _SCHEMES[scheme]:
        for target in ("mean", "variance", "regime"):
            of_target = [row for row in rows if row["scheme"] == one and row["target"] == target]
            of_target.sort(key=lambda row: (row["horizon"], _ORDER[row["verdict"]], row["loss"] or 0.0))
            title = f"{one.replace('_', ' ')} to {done.session}, judged by {target}, {len(done.symbols)} symbols"
            print_rows([_told(row) for row in of_target], _VERDICTS, title=title, as_json=False)
            print_rows([_told(row) for row in of_target], _DETAILS, title=f"{title}: scores", as_json=False)
        lost = {row["model"] for row in rows if row["scheme"] == one and row["verdict"] == "loser"}
        ever = {row["model"] for row in rows if row["scheme"] == one and row["verdict"] in ("winner", "no_better")}
        console.print(
            f"Losers over every horizon, {one.replace('_', ' ')}: {', '.join(sorted(lost - ever)) or 'none'}."
        )


def models(json: Json = False) -> None:
    """List the models: what each forecasts, its newest verdicts, the weights in force, fits, versions, drift."""
    import polars as pl

    from quant_dagster.cli.output import print_rows
    from quant_dagster.cycle.modelling import forecast_parameters, stored_weights
    from quant_dagster.cycle.registry import models_table
    from quant_dagster.forecasting.families.registry import FAMILIES, chosen

    context = open_context()
    context.ledger.upgrade()
    parameters = forecast_parameters(context)
    weights = stored_weights(context, date.max, parameters)
    registered = {row["model"]: row for row in models_table(context)}
    scores = context.lake.read("validation_scores", where=pl.col("scheme") == "walk_forward")
    newest = scores.filter(pl.col("session") == pl.col("session").max()).sort("horizon")
    session = context.lake.read("forecasts", columns=["session"], ordered=False)["session"].max()
    forecasts = context.lake.read(
        "forecasts", columns=["model", "symbol", "status", "fitted_on"],
        where=pl.col("session") == pl.lit(session, pl.Date), ordered=False,
    )  # fmt: skip
    asked = {spec.model for spec in chosen(parameters)}
    rows = []
    for spec in FAMILIES:
        name = spec.model.value
        judged = newest.filter(pl.col("model") == name)
        own = forecasts.filter((pl.col("model") == name) & pl.col("status").is_in(["fitted", "carried"]))
        fits = own.unique(["symbol", "fitted_on"])
        rows.append(
            {
                "model": name,
                "target": spec.target.value,
                "asked": spec.model in asked,
                "carried": spec.carried,
                "naive": spec.naive,
                "judged_on": judged["session"][0] if judged.height else None,
                "verdict": dict(zip(map(str, judged["horizon"]), judged["verdict"], strict=True)),
                "weight": weights.of(name),
                "forecast_on": session if own.height else None,
                "symbols": own["symbol"].n_unique(),
                "newest_fit": fits["fitted_on"].max(),
                "fitted_then": fits.filter(pl.col("fitted_on") == pl.col("fitted_on").max()).height,
                "version": registered.get(name, {}).get("version"),
                "versions": registered.get(name, {}).get("versions", 0),
                "drifted": registered.get(name, {}).get("drifted"),
            }
        )
    shown = rows if json else [row | {"weight": _weighed(row["weight"])} for row in rows]
    print_rows(shown, list(rows[0]), title=f"Models; weights: {weights.source}", as_json=json)


def _weighed(weights: dict[str, float]) -> str:
    """Weights by horizon, in words."""
    return ", ".join(
        f"{weight:.2f} ({horizon} session{'s' if horizon != '1' else ''})" for horizon, weight in weights.items()
    )


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigurationError("--models names no model; write them as ar,garch11, or 'all'")
    return names


_VERDICTS = (
    "model", "h", "verdict", "weight", "loss_to_naive", "DM", "DM_p", "t_p", "MCS", "sharpe", "se", "deflated",
    "profit_factor", "drawdown",
)  # fmt: skip
_DETAILS = ("model", "h", "forecasts", "fallbacks", "bias_bps", "RMSE_bps", "MASE", "QLIKE", "pinball_bps", "in_50",
    "in_90", "hit_rate")  # fmt: skip


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A row of scores in few words; errors in basis points."""
    loss, naive = row["loss"], row["naive_loss"]
    ratio = None
    if loss is not None and naive:
        # A QLIKE is a logarithm: the difference says by how much.
        ratio = loss - naive if row["target"] == "variance" else loss / naive
    return {
        "model": row["model"], "h": row["horizon"], "verdict": row["verdict"], "weight": row["weight"],
        "loss_to_naive": ratio, "DM": row["diebold_mariano"], "DM_p": row["diebold_mariano_p"],
        "t_p": row["paired_t_p"], "MCS": row["in_confidence_set"], "sharpe": row["sharpe"],
        "se": row["sharpe_standard_error"], "deflated": row["deflated_sharpe"],
        "profit_factor": row["profit_factor"], "drawdown": row["max_drawdown"], "forecasts": row["forecasts"],
        "fallbacks": row["fallbacks"], "bias_bps": _bps(row["bias"]), "RMSE_bps": _bps(row["rmse"]),
        "MASE": row["mase"], "QLIKE": row["qlike"], "pinball_bps": _bps(row["pinball"]), "in_50": row["coverage_50"],
        "in_90": row["coverage_90"], "hit_rate": row["hit_rate"],
    }  # fmt: skip


def _bps(value: float | None) -> float | None:
    return None if value is None else value * 1e4
