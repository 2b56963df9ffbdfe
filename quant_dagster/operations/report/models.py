"""What the report says of the models: how the newest validation judged them, and the drift tests of the period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from quant_dagster.forecasting.families.registry import LOSS, Target
from quant_dagster.operations.report.content import Period
from quant_dagster.operations.report.figures import Series, empty_figure, line_figure
from quant_dagster.operations.report.tables import Column, Table, bps, number
from quant_dagster.storage.lake import Lake

if TYPE_CHECKING:
    import polars as pl

_DRAWN = 3


@dataclass(frozen=True)
class Judgement:
    """The newest validation up to the period's end; frames are empty where there was none."""

    session: date | None
    scores: pl.DataFrame
    losses: pl.DataFrame
    drift: pl.DataFrame


def read_judgement(lake: Lake, period: Period) -> Judgement:
    """Rows of the newest validation before the period's end, and of the drift tests within it."""
    import polars as pl

    scores = lake.read("validation_scores", end=period.last)
    session = scores["session"].max()
    newest = session if isinstance(session, date) else None
    losses = lake.read("validation_losses", start=newest or period.last, end=period.last)
    drift = lake.read("model_drift", start=period.first, end=period.last)
    return Judgement(newest, scores.filter(pl.col("session") == pl.col("session").max()), losses, drift)


def model_tables(judgement: Judgement) -> dict[str, Table]:
    """The section's tables by name; those without a row are left out."""
    tables = {"validation": _validation_table(judgement), "drift": _drift_table(judgement)}
    return {name: table for name, table in tables.items() if table.rows}


def skill_figures(judgement: Judgement) -> dict[str, str]:
    """The section's figures by name, as SVG."""
    return {f"{target}_skill": _skill_figure(judgement, target) for target in ("mean", "variance")}


def _validation_table(judgement: Judgement) -> Table:
    """Every model's scores out of sample, the best of each target and horizon first."""
    rows = [
        [
            row["target"], row["horizon"], row["model"], row["verdict"], number(row["weight"]), row["scheme"],
            row["forecasts"], row["fallbacks"], number(_ratio(row["loss"], row["naive_loss"])),
            number(row["diebold_mariano"]), number(row["diebold_mariano_p"]), number(row["paired_t_p"]),
            None if row["in_confidence_set"] is None else "yes" if row["in_confidence_set"] else "no",
            bps(row["rmse"]), number(row["mase"]), number(row["qlike"]), bps(row["pinball"]),
            number(row["coverage_50"]), number(row["coverage_90"]), number(row["hit_rate"]),
            number(row["profit_factor"]), number(row["max_drawdown"]), number(row["annual_return"]),
            number(row["sharpe"]), number(row["sharpe_standard_error"]), number(row["deflated_sharpe"]),
        ]
        for row in judgement.scores.sort("target", "horizon", "scheme", "loss").iter_rows(named=True)
    ]  # fmt: skip
    columns = (
        Column("judged by", hint="mean: squared error; variance: QLIKE; regime: pinball loss"),
        Column("horizon", "count", "sessions ahead"),
        Column("model", "code"),
        Column("verdict", "pill", "against the naive forecast of the same outcomes"),
        Column("weight", "percent", "in the combined forecast"),
        Column("scheme"),
        Column("forecasts", "count"),
        Column("fallbacks", "count", "answered by a naive forecast"),
        Column("loss / naive", "number", "below 1 is better than naive (of QLIKE: read the test)"),
        Column("DM", "number", "Diebold-Mariano with Harvey's correction; negative is better than naive"),
        Column("DM p", "number", "two-sided"),
        Column("t p", "number", "paired t test, two-sided"),
        Column("in MCS", hint="in the model confidence set (Hansen, Lunde & Nason)"),
        Column("RMSE", "bps"),
        Column("MASE", "number", "mean absolute error over the random walk's"),
        Column("QLIKE", "number"),
        Column("pinball", "bps"),
        Column("in 25-75 %", "percent", "should be 50 %"),
        Column("in 5-95 %", "percent", "should be 90 %"),
        Column("hit rate", "percent"),
        Column("profit factor", "number", "of trading the forecast, after costs"),
        Column("max drawdown", "percent"),
        Column("return", "percent", "annual"),
        Column("Sharpe", "number"),
        Column("± s.e.", "number", "standard error of the Sharpe ratio"),
        Column("deflated", "percent", "chance that it is more than luck of as many trials"),
    )
    return Table(columns, rows, filters=(0, 1, 3, 5))


def _drift_table(judgement: Judgement) -> Table:
    """Every drift test of the period that was significant, and the newest of each model."""
    import polars as pl

    shown = judgement.drift.filter(pl.col("drifted") | (pl.col("session") == pl.col("session").max()))
    rows = [
        [
            row["session"].isoformat(), row["model"], row["detector"], number(row["statistic"]),
            number(row["p_value"]), "drifted" if row["drifted"] else "sound", row["detail"],
        ]
        for row in shown.sort("drifted", "session", "p_value", descending=[True, True, False]).iter_rows(named=True)
    ]  # fmt: skip
    columns = (
        Column("session"), Column("model", "code"), Column("test", "code"), Column("statistic", "number"),
        Column("p", "number", "times the number of tests of the model"), Column("state", "pill"), Column("what"),
    )  # fmt: skip
    return Table(columns, rows, filters=(1, 5))


def _skill_figure(judgement: Judgement, target: str) -> str:
    """Cumulative loss saved against the naive forecast, one session ahead: the best models of a target."""
    import polars as pl

    scores = judgement.scores.filter(
        (pl.col("target") == target) & (pl.col("scheme") == "walk_forward") & (pl.col("verdict") != "not_judged")
    )
    title = f"Loss saved against naive, {target}"
    if scores.is_empty():
        return empty_figure(title)
    horizon = scores["horizon"].min()
    ranked = scores.filter((pl.col("horizon") == horizon) & (pl.col("verdict") != "naive")).sort("loss")
    naive = ranked["naive"][0] if ranked.height else None
    losses = judgement.losses.filter(pl.col("horizon") == horizon).pivot(
        "model", index="origin", values=LOSS[Target(target)]
    )
    if naive is None or naive not in losses.columns:
        return empty_figure(title)
    losses = losses.sort("origin")
    shown = [model for model in ranked["model"].head(_DRAWN) if model in losses.columns]
    lines = [
        Series(
            model, (losses[naive] - losses[model]).fill_null(0.0).cum_sum().to_list(), style, dashed=style != "accent"
        )
        for model, style in zip(shown, ("accent", "second", "third"), strict=False)
    ]
    return line_figure(title, losses["origin"].to_list(), lines, _plain, zero=True)


def _plain(value: float) -> str:
    return f"{value:.3g}"


def _ratio(loss: float | None, naive: float | None) -> float | None:
    return None if loss is None or not naive else loss / naive
