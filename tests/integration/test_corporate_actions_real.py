"""Corporate actions against real prices: LEAN's factor files, Yahoo's adjusted closes, two vendors side by side."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.market_data.calendars import exchange_calendar
from quant_dagster.market_data.corporate_actions.actions import TABLE, actions_known
from quant_dagster.market_data.corporate_actions.adjustment import adjusted
from quant_dagster.market_data.corporate_actions.confirmation import effective
from quant_dagster.market_data.corporate_actions.inference import infer, infer_from_prices
from quant_dagster.market_data.corporate_actions.levels import PriceLevel
from quant_dagster.market_data.corporate_actions.refresh import confirmation_report, series
from quant_dagster.market_data.corporate_actions.splits import infer_splits
from quant_dagster.market_data.corporate_actions.steps import infer_from_pair
from quant_dagster.quality import contracts
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TABLES
from tests.support.market_data import shared_data

# Which ticker's prices a factor file belongs to, and when: tickers are used again by other companies.
# Told by the file's reference prices, which are the closes of that ticker.
SEGMENTS = (
    ("AAA.1", "AAA", date(2002, 5, 22), date(2007, 5, 14)),
    ("AAPL", "AAPL", date(1998, 1, 2), date(2021, 3, 31)),
    ("AIG", "AIG", date(1998, 1, 2), date(2021, 3, 31)),
    ("BAC", "BAC", date(1998, 9, 25), date(2021, 3, 31)),
    ("BNO", "BNO", date(2010, 6, 2), date(2021, 3, 31)),
    ("EEM", "EEM", date(2003, 4, 14), date(2021, 3, 31)),
    ("GOOG", "GOOG", date(2014, 4, 3), date(2021, 3, 31)),
    ("GOOGL", "GOOG", date(2004, 8, 19), date(2014, 4, 2)),
    ("GOOGL", "GOOGL", date(2014, 4, 3), date(2021, 3, 31)),
    ("IBM", "IBM", date(1998, 1, 2), date(2021, 3, 31)),
    ("IWM", "IWM", date(2000, 5, 26), date(2021, 3, 31)),
    ("QQQ", "QQQ", date(1999, 3, 10), date(2004, 11, 30)),
    ("QQQ", "QQQ", date(2011, 3, 23), date(2021, 3, 31)),
    ("SPY", "SPY", date(1998, 1, 2), date(2021, 3, 31)),
    ("USO", "USO", date(2006, 4, 10), date(2021, 3, 31)),
    ("WM", "WMI", date(1998, 7, 17), date(2009, 8, 4)),
    ("WM", "WM", date(2009, 8, 5), date(2021, 3, 31)),
)


@cache
def lean() -> pl.DataFrame:
    """Unadjusted bars under the name of their factor file."""
    raw = pl.read_parquet(shared_data("us_daily_lean_raw.parquet")).rename({"date": "session"})
    raw = raw.with_columns(pl.col("session").cast(pl.Date), pl.col("volume").cast(pl.Float64))
    parts = [
        raw.filter((pl.col("symbol") == ticker) & pl.col("session").is_between(first, last)).with_columns(
            pl.lit(name).alias("symbol")
        )
        for name, ticker, first, last in SEGMENTS
    ]
    return pl.concat(parts).sort("symbol", "session")


@cache
def factors() -> pl.DataFrame:
    """LEAN's rows: the factors of sessions up to and including ``session``."""
    rows = pl.read_parquet(shared_data("us_lean_factor_files.parquet")).rename({"date": "session"})
    named = rows.filter(pl.col("symbol").is_in([name for name, *_ in SEGMENTS]))
    return named.with_columns(pl.col("session").str.to_date("%Y%m%d")).sort("symbol", "session")


@cache
def with_factors() -> pl.DataFrame:
    joined = lean().sort("session").join_asof(
        factors().sort("session"), on="session", by="symbol", strategy="forward", check_sortedness=False
    )  # fmt: skip
    return joined.sort("symbol", "session")


@cache
def lean_events() -> pl.DataFrame:
    """What LEAN's factors change by, by the first session they no longer apply to."""
    marked = with_factors().with_columns(
        (pl.col("price_factor").shift(1) / pl.col("price_factor")).over("symbol").alias("paid"),
        (pl.col("split_factor") / pl.col("split_factor").shift(1)).over("symbol").alias("ratio"),
        pl.col("close").shift(1).over("symbol").alias("before"),
    )
    return marked.filter(((pl.col("paid") - 1.0).abs() > 5e-7) | ((pl.col("ratio") - 1.0).abs() > 1e-4))


@cache
def yahoo() -> pl.DataFrame:
    rows = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet")).rename({"date": "session"})
    return rows.with_columns(pl.col("symbol").cast(pl.String), pl.col("volume").cast(pl.Float64))


@cache
def nasdaq() -> pl.DataFrame:
    rows = pl.read_parquet(shared_data("us_daily_nasdaqcom_2014_2024.parquet")).rename({"date": "session"})
    return rows.with_columns(pl.col("symbol").cast(pl.String), pl.col("volume").cast(pl.Float64))


@cache
def yahoo_actions() -> pl.DataFrame:
    closes = yahoo().with_columns(pl.col("adj_close").alias("close"))
    return infer_from_pair(yahoo(), closes, PriceLevel.SPLIT, PriceLevel.TOTAL_RETURN)


def test_leans_splits_are_found_in_prices_alone() -> None:
    # 1.0027 for 1 (GOOG's class C dividend) is in no price; the 1-for-20 of AIG came with its volume doubling.
    truth = lean_events().filter(pl.col("ratio").log().abs() > 0.2)
    found = infer_splits(lean())
    both = truth.select("symbol", "session", "ratio").join(found, on=["symbol", "session"], suffix="_found")
    assert both.filter((pl.col("ratio") / pl.col("ratio_found") - 1.0).abs() > 1e-3).is_empty()
    missed = truth.join(found, on=["symbol", "session"], how="anti").select("symbol", "session").rows()
    wrong = found.join(truth, on=["symbol", "session"], how="anti").select("symbol", "session").rows()
    assert missed == [("AIG", date(2009, 7, 1))]
    assert wrong == []
    assert both.height == 16


def test_crashes_of_adjusted_prices_are_not_taken_for_splits() -> None:
    # Adjusted prices hold no split. What is left in 1.2 million bars: special dividends of a fifth of the price,
    # which look like a split in every way.
    found = infer_splits(yahoo()).select("symbol", "session").rows()
    specials = {("KLAC", date(2014, 11, 26)), ("GEN", date(2016, 3, 4)), ("LDOS", date(2016, 8, 17))}
    assert set(found) <= specials


def test_a_split_is_found_with_no_session_after_those_it_is_known_by() -> None:
    apple = lean().filter(pl.col("symbol") == "AAPL")
    (until,) = infer_splits(apple).filter(pl.col("session") == date(2014, 6, 9))["until"].to_list()
    assert until == date(2014, 6, 13)
    seen = infer_splits(apple.filter(pl.col("session") <= until))
    assert seen.filter(pl.col("session") == date(2014, 6, 9))["ratio"].to_list() == [7.0]


def test_factors_of_every_lean_symbol_are_reproduced() -> None:
    events = lean_events()
    dividends = events.filter((pl.col("paid") - 1.0).abs() > 5e-7).select(
        "symbol", "session", pl.lit("dividend").alias("kind"), pl.lit(None, pl.Float64).alias("ratio"),
        (pl.col("before") * (1.0 - pl.col("paid"))).alias("amount"),
    )  # fmt: skip
    splits = events.filter((pl.col("ratio") - 1.0).abs() > 1e-4).select(
        "symbol", "session", pl.lit("split").alias("kind"), (1.0 / (1.0 / pl.col("ratio"))).alias("ratio"),
        pl.lit(None, pl.Float64).alias("amount"),
    )  # fmt: skip
    found = adjusted(lean(), pl.concat([dividends, splits]), PriceLevel.TOTAL_RETURN)
    theirs = with_factors().with_columns((pl.col("price_factor") * pl.col("split_factor")).alias("theirs"))
    # Relative to the newest session in the file: prices end before the last factor's dividends are paid.
    last = theirs.group_by("symbol").agg(pl.col("theirs").last().alias("newest"))
    both = found.join(theirs.select("symbol", "session", "theirs"), on=["symbol", "session"]).join(last, on="symbol")
    error = (both["factor"] * both["newest"] / both["theirs"] - 1.0).abs()
    assert both["symbol"].n_unique() == 14
    assert error.max() < 1e-4  # LEAN's own rounding: split factors to six digits


def test_yahoos_adjusted_close_is_reproduced_from_its_close_and_inferred_dividends() -> None:
    found = adjusted(yahoo(), yahoo_actions(), PriceLevel.TOTAL_RETURN)
    error = (found["close"] / yahoo()["adj_close"].cast(pl.Float64) - 1.0).abs()
    assert error.max() < 1e-3
    assert error.mean() < 1e-5


def test_dividends_inferred_from_yahoo_are_those_of_lean() -> None:
    # Yahoo states amounts per share of today; it took IBM's spin-off of Kyndryl for a split of 1.046 for 1.
    days = [date(2014, 6, 9), date(2020, 8, 31), date(2021, 11, 4)]
    split = pl.DataFrame({"symbol": ["AAPL", "AAPL", "IBM"], "session": days, "ratio": [7.0, 4.0, 1.046]})
    common = ["AAPL", "AIG", "BAC", "IBM", "WM"]
    first, last = date(2014, 3, 10), date(2021, 3, 31)
    truth = lean_events().filter(
        pl.col("symbol").is_in(common) & pl.col("session").is_between(first, last) & (pl.col("paid") < 1.0 - 1e-5)
    )
    truth = truth.select("symbol", "session", (pl.col("before") * (1.0 - pl.col("paid"))).alias("truth"))
    inferred = yahoo_actions().filter(pl.col("symbol").is_in(common) & pl.col("session").is_between(first, last))
    both = truth.join(inferred, on=["symbol", "session"])
    later = both.join(split, on="symbol", suffix="_split").filter(pl.col("session") < pl.col("session_split"))
    scale = later.group_by("symbol", "session").agg(pl.col("ratio_split").product().alias("scale"))
    scaled = both.join(scale, on=["symbol", "session"], how="left").with_columns(
        (pl.col("amount") * pl.col("scale").fill_null(1.0)).alias("paid_then")
    )
    assert (both.height, truth.height, inferred.height) == (140, 140, 140)
    assert (scaled["paid_then"] - scaled["truth"]).abs().max() < 0.006


def test_a_spin_off_is_not_a_dividend() -> None:
    # Johnson Controls spun off Adient on 2016-10-31: Yahoo took 4.70 out of its adjusted close as if it were paid.
    # Nasdaq adjusts closes for spin-offs and not for dividends, which gives it away.
    symbols = ["JCI", "KO", "VTR", "FLEX"]
    closes = yahoo().with_columns(pl.col("adj_close").alias("close"))
    prices = pl.concat(
        [
            frame.filter(pl.col("symbol").is_in(symbols)).select(
                pl.lit(name).alias("vendor"), "symbol", "session",
                *(pl.col(field).cast(pl.Float64) for field in ("open", "high", "low", "close", "volume")),
            )
            for name, frame in (("yahoo", yahoo()), ("yahoo_adjusted", closes), ("nasdaq", nasdaq()))
        ]
    )  # fmt: skip
    levels = {
        "yahoo": PriceLevel.SPLIT,
        "yahoo_adjusted": PriceLevel.TOTAL_RETURN,
        "nasdaq": PriceLevel.SPLIT,
    }
    _, found = infer_from_prices(prices, levels)
    adient = found.filter((pl.col("symbol") == "JCI") & (pl.col("session") == date(2016, 10, 31)))
    by_source = dict(adient.select("vendor", "kind").rows())
    assert by_source["prices:yahoo/yahoo_adjusted"] == by_source["prices:yahoo/nasdaq"] == "spin_off"
    counted = effective(adient.drop("until").with_columns(origin=pl.lit("inferred")))
    assert counted["kind"].to_list() == ["spin_off"]
    spun = found.filter(pl.col("kind") == "spin_off").select("symbol", "session").unique()
    expected = {("VTR", date(2015, 8, 18)), ("JCI", date(2016, 10, 31)), ("FLEX", date(2024, 1, 3))}
    assert set(spun.rows()) == expected
    cola = found.filter((pl.col("symbol") == "KO") & (pl.col("vendor") == "prices:yahoo/yahoo_adjusted"))
    assert set(cola["kind"]) == {"dividend"}
    assert cola.height == 40


def test_leans_factors_tell_splits_dividends_and_warrants_apart() -> None:
    # AIG gave its holders warrants on 2011-01-20: 16.4 % of the price, in LEAN's file a price factor like a dividend's.
    factor = pl.col("price_factor") * pl.col("split_factor")
    closes = with_factors().with_columns((pl.col("close") * factor).alias("close"))
    found = infer_from_pair(lean(), closes, PriceLevel.RAW, PriceLevel.TOTAL_RETURN)
    truth = lean_events()
    splits = truth.filter(pl.col("ratio").log().abs() > 0.2).select("symbol", "session", "ratio")
    both = splits.join(found.filter(pl.col("kind") == "split"), on=["symbol", "session"], suffix="_found")
    assert both.height == splits.height == found.filter(pl.col("kind") == "split").height == 17
    assert (both["ratio"] / both["ratio_found"] - 1.0).abs().max() < 1e-4  # LEAN's own rounding
    paid = truth.filter(pl.col("paid") < 1.0 - 1e-6)
    shown = found.filter(pl.col("kind").is_in(["dividend", "spin_off"]))
    # GOOG's stock dividend of 1.0027 for 1 is a split in LEAN's file; its size says dividend.
    extra = shown.join(paid, on=["symbol", "session"], how="anti").select("symbol", "session").rows()
    assert extra == [("GOOG", date(2015, 4, 27))]
    missed = paid.join(shown, on=["symbol", "session"], how="anti")
    assert (paid.height, missed.height) == (631, 16)
    assert missed["paid"].min() > 1.0 - 5.01e-4  # below the noise of two vendors' closes
    spun = found.filter(pl.col("kind") == "spin_off").select("symbol", "session").rows()
    assert spun[0] == ("AIG", date(2011, 1, 20))
    assert spun[1:] == [("QQQ", date(2011, 3, 23))]  # spans the seven years in which QQQ had another ticker


@pytest.fixture
def stored(tmp_path: Path) -> Lake:
    """AAPL: unadjusted from LEAN, split-adjusted and total-return from Yahoo, in a lake."""
    lake = Lake(tmp_path / "lake")
    closes = yahoo().with_columns(pl.col("adj_close").alias("close"), open=None, high=None, low=None)
    calendar = exchange_calendar("XNYS")
    for name, frame in (("lean", lean()), ("yahoo", yahoo()), ("yahoo_adjusted", closes)):
        rows = frame.filter(
            (pl.col("symbol") == "AAPL") & pl.col("session").is_between(date(2014, 3, 3), date(2021, 3, 31))
        ).with_columns(
            pl.lit(name).alias("vendor"),
            *(pl.col(field).cast(pl.Float64) for field in ("open", "high", "low", "close", "volume")),
            pl.lit("0" * 16).alias("row_hash"),
        )
        known = pl.Series("known_at", [calendar.close_time(day) for day in rows["session"]])
        stamped = rows.with_columns(known.cast(TABLES["raw_prices"].schema["known_at"]))
        lake.merge("raw_prices", stamped.select(list(TABLES["raw_prices"].schema)))
    return lake


LEVELS = {"lean": PriceLevel.RAW, "yahoo": PriceLevel.SPLIT, "yahoo_adjusted": PriceLevel.TOTAL_RETURN}
NOW = datetime(2024, 3, 10, tzinfo=UTC)


def test_from_the_lake_three_sources_confirm_and_one_store_gives_three_series(stored: Lake) -> None:
    calendar = exchange_calendar("XNYS")
    done = infer(stored, LEVELS, calendar=calendar, now=NOW, contract=contracts.validate)
    assert done.sources == ("lean", "lean/yahoo", "lean/yahoo_adjusted", "yahoo/yahoo_adjusted")
    assert infer(stored, LEVELS, calendar=calendar, now=NOW, contract=contracts.validate).inserted == 0
    kept = effective(actions_known(stored), list(LEVELS))
    assert kept.filter(pl.col("kind") == "split").select("session", "ratio").rows() == [
        (date(2014, 6, 9), 7.0),
        (date(2020, 8, 31), 4.0),
    ]
    assert kept.filter(pl.col("kind") == "dividend").height == 28
    assert kept.filter(pl.col("kind") == "spin_off").is_empty()
    told = actions_known(stored).filter(pl.col("session") == date(2014, 5, 8)).select("vendor", "amount").rows()
    # Per share of the time, not of today; two vendors' closes tell it to a cent only.
    assert dict(told) == {
        "prices:yahoo/yahoo_adjusted": pytest.approx(3.29, abs=0.001),
        "prices:lean/yahoo_adjusted": pytest.approx(3.29, abs=0.02),
    }

    version = stored.version(TABLE)
    report = confirmation_report(stored, calendar, record=True)
    assert report.height == stored.read(TABLE).height
    assert confirmation_report(stored, calendar).equals(report)
    confirmation_report(stored, calendar, record=True)
    assert stored.version(TABLE) in (version, (version or 0) + 1)

    split = series(stored, ["AAPL"], PriceLevel.SPLIT, "lean", PriceLevel.RAW).bars
    theirs = yahoo().filter(pl.col("symbol") == "AAPL").select("session", pl.col("close").alias("theirs"))
    both = split.join(theirs, on="session")
    assert (both["close"] / both["theirs"].cast(pl.Float64) - 1.0).abs().median() < 1e-3
    raw = series(stored, ["AAPL"], PriceLevel.RAW, "yahoo", PriceLevel.SPLIT).bars
    traded = lean().filter(pl.col("symbol") == "AAPL").select("session", pl.col("close").alias("theirs"))
    back = raw.join(traded, on="session")
    assert (back["close"] / back["theirs"] - 1.0).abs().median() < 1e-3


def test_what_was_known_on_a_day_does_not_change_with_what_came_after(stored: Lake) -> None:
    infer(stored, LEVELS, calendar=exchange_calendar("XNYS"), now=NOW, contract=contracts.validate)
    day = date(2020, 8, 28)
    before = series(stored, ["AAPL"], PriceLevel.SPLIT, "lean", PriceLevel.RAW, known_on=day).bars
    assert before["session"].max() == day
    assert before["close"].to_list()[-1] == pytest.approx(499.23)
    after = series(stored, ["AAPL"], PriceLevel.SPLIT, "lean", PriceLevel.RAW).bars
    assert after.filter(pl.col("session") == day)["close"].to_list() == pytest.approx([499.23 / 4])
    # The 4-for-1 of 2020-08-31 was inferred from five sessions' volume: known at the close of the fifth.
    known = actions_known(stored, known_on=date(2020, 9, 3)).filter(pl.col("session") == date(2020, 8, 31))
    assert "prices:lean" not in known["vendor"].to_list()
    later = actions_known(stored, known_on=date(2020, 9, 4)).filter(pl.col("session") == date(2020, 8, 31))
    assert "prices:lean" in later["vendor"].to_list()
