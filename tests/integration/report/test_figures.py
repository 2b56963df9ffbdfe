"""What the report and the code location draw."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from quant_dagster.operations.report.charts import as_markdown, equity_png, forecast_fan_png, quality_heatmap_png
from quant_dagster.operations.report.figures import Series, bar_figure, line_figure
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from tests.integration.report.pages import THREE, Page


class TestFigures:
    def test_higher_values_are_drawn_higher_and_named(self) -> None:
        svg = line_figure("<equity>", THREE, [Series("a & b", [1.0, 3.0, 2.0], "accent")], lambda v: f"{v:.1f}")
        page = Page(svg)
        line = next(attrs["d"] for tag, attrs in page.found if tag == "path")
        (x0, y0), (x1, y1), (x2, y2) = [map(float, point.split(",")) for point in (line or "")[1:].split("L")]
        assert x0 < x1 < x2 and y1 < y2 < y0
        pointer = json.loads(next(attrs["data-pointer"] for tag, attrs in page.found if tag == "figure") or "")
        assert pointer["at"] == [str(day) for day in THREE]
        assert pointer["series"] == [{"name": "a & b", "style": "accent", "text": ["1.0", "3.0", "2.0"]}]
        assert "<equity>" in page.text

    def test_layers_stand_on_each_other(self) -> None:
        series = [Series("low", [1.0, 0.0, 2.0], "buy"), Series("high", [1.0, 2.0, 0.0], "sell")]
        bars = [attrs for tag, attrs in Page(bar_figure("x", THREE, series, str)).found if tag == "rect"]
        assert [attrs["class"] for attrs in bars] == ["bar buy", "bar buy", "bar sell", "bar sell"]
        low, high = bars[0], bars[2]
        assert float(high["y"] or 0) + float(high["height"] or 0) == pytest.approx(float(low["y"] or 0), abs=0.2)

    @pytest.mark.parametrize("values", [[5.0], [float("nan"), 7.0], [0.0, 0.0], [-1e-9, 1e9]])
    def test_few_and_odd_values_are_drawn(self, values: list[float]) -> None:
        svg = line_figure("x", THREE[: len(values)], [Series("y", values, "accent")], str, area=True, zero=True)
        assert "nan" not in next(attrs["d"] for tag, attrs in Page(svg).found if tag == "path")

    def test_nothing_to_draw_says_so(self) -> None:
        assert "none" in Page(line_figure("x", [], [Series("y", [], "accent")], str)).text
        assert "none" in Page(bar_figure("x", [], [Series("y", [], "accent")], str)).text


class TestPictures:
    @pytest.fixture
    def frames(self, ledger: Ledger, lake: Lake) -> dict[str, pl.DataFrame]:
        return {
            "quality": lake.read("quality", start=date(2022, 10, 3)),
            "forecasts": lake.read("forecasts", start=THREE[-1]),
            "snapshots": ledger.frame("account_snapshots"),
        }

    @pytest.mark.parametrize(
        ("name", "draw"),
        [("quality", quality_heatmap_png), ("forecasts", forecast_fan_png), ("snapshots", equity_png)],
    )
    def test_a_picture_is_a_function_of_its_rows(
        self, frames: dict[str, pl.DataFrame], name: str, draw: Callable[[pl.DataFrame], bytes]
    ) -> None:
        from matplotlib import image

        picture = draw(frames[name])
        pixels = image.imread(io.BytesIO(picture), format="png")
        assert pixels.shape[1] == 900 and pixels.std() > 0.01
        assert len(picture) < 100_000
        assert draw(frames[name].sample(fraction=1.0, shuffle=True, seed=1)) == picture
        assert draw(frames[name].head(1)) != picture
        assert image.imread(io.BytesIO(draw(frames[name].clear())), format="png").shape == (100, 900, 4)

    def test_a_low_score_is_seen(self, frames: dict[str, pl.DataFrame]) -> None:
        lowered = frames["quality"].with_columns(
            pl.when(pl.col("symbol") == "AAPL").then(0.1).otherwise("score").alias("score")
        )
        assert quality_heatmap_png(lowered) != quality_heatmap_png(frames["quality"])

    def test_as_markdown_carries_the_picture(self) -> None:
        text = as_markdown(b"\x89PNG", "equity [USD]\nand more")
        found = re.fullmatch(r"!\[(.*)\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", text)
        assert found is not None and found[1] == r"equity \[USD\] and more"
        assert base64.b64decode(found[2]) == b"\x89PNG"
