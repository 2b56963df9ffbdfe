"""Settings: every key documented, every mistake named with its key, its source and what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from quant_dagster.errors import ConfigurationError
from quant_dagster.settings import CONFIG_FOLDER, PROJECT_ROOT, Settings, load_settings, quant_home, render_defaults

SECRET = "xoxb-not-for-your-eyes"


def every_key(model: type[BaseModel] = Settings, path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield f"{path}{name}", field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from every_key(field.annotation, f"{path}{name}.")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config folder with the shipped defaults."""
    (tmp_path / "default.yaml").write_text(render_defaults(), encoding="utf-8")
    return tmp_path


def refused(folder: Path, **options: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(options or None, config_folder=folder)
    return str(caught.value)


def test_every_key_says_what_it_is_for() -> None:
    assert [name for name, field in every_key() if not (field.description or "").strip()] == []


def test_the_shipped_defaults_are_those_of_the_code() -> None:
    written = (CONFIG_FOLDER / "default.yaml").read_text(encoding="utf-8")
    assert written == render_defaults(), "run: python -m quant_dagster.settings > config/default.yaml"


def test_no_setting_at_all_is_the_defaults(tmp_path: Path) -> None:
    assert load_settings(config_folder=tmp_path) == load_settings()


def test_sources_win_in_the_order_default_local_named_file_environment_options(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit(**options: object) -> float:
        return load_settings(options or None, config_folder=folder).risk.cvar_limit

    assert limit() == 0.02
    (folder / "local.yaml").write_text("risk: {cvar_limit: 0.03}\n")
    assert limit() == 0.03
    named = tmp_path / "mine.yaml"
    named.write_text("risk:\n  cvar_limit: 0.04\n")
    monkeypatch.setenv("QUANT_CONFIG", str(named))
    assert limit() == 0.04
    monkeypatch.setenv("QUANT_RISK__CVAR_LIMIT", "0.05")
    assert limit() == 0.05
    assert limit(risk={"cvar_limit": 0.06}) == 0.06


def test_one_source_does_not_wipe_out_another_key_of_the_same_section(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "local.yaml").write_text("risk: {cvar_limit: 0.03}\n")
    monkeypatch.setenv("QUANT_RISK__PRICE_COLLAR", "0.1")
    settings = load_settings({"risk": {"max_drawdown": 0.3}, "signals": {"flags": {"trend": False}}}, folder)
    risk = settings.risk
    assert (risk.cvar_limit, risk.price_collar, risk.max_drawdown, risk.max_gross_leverage) == (0.03, 0.1, 0.3, 1.0)
    others = {"mean_reversion": True, "pairs": True, "learned": True, "composite": True}
    assert settings.signals.flags == {"trend": False, **others}


def test_a_mapping_of_columns_is_replaced_as_a_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "local.yaml").write_text("market_data: {files: {columns: {session: Day, close: C}}}\n")
    assert load_settings(config_folder=folder).market_data.files.columns == {"session": "Day", "close": "C"}
    monkeypatch.setenv("QUANT_MARKET_DATA__FILES__COLUMNS", '{"session": "D", "close": "X"}')
    assert load_settings(config_folder=folder).market_data.files.columns == {"session": "D", "close": "X"}


@pytest.mark.parametrize("file", ["default.yaml", "local.yaml", "named.yaml"])
def test_an_unknown_key_is_named_with_its_file_and_its_neighbour(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    (folder / file).write_text("risk: {cvar_limt: 0.03}\n")
    if file == "named.yaml":
        monkeypatch.setenv("QUANT_CONFIG", str(folder / file))
    message = refused(folder)
    assert str(folder / file) in message
    assert "unknown setting 'risk.cvar_limt' (did you mean 'cvar_limit'?)" in message
    assert "max_gross_leverage" in message, "the allowed keys are listed"


def test_an_unknown_section_is_named(folder: Path) -> None:
    (folder / "local.yaml").write_text("rsk: {cvar_limit: 0.03}\n")
    assert "unknown setting 'rsk' (did you mean 'risk'?)" in refused(folder)


@pytest.mark.parametrize(
    ("variable", "key"),
    [
        ("QUANT_RISK__CVAR_LIMT", "'risk.cvar_limt' (did you mean 'cvar_limit'?)"),
        ("QUANT_RSK__CVAR_LIMIT", "rsk"),
        ("QUANT_UNIVERS", "'univers' (did you mean 'universe'?)"),
        ("QUANT_STRATEGY__NAME", "strategy"),
        ("QUANT_RISK__CVAR_LIMIT__MORE", "risk.cvar_limit"),
    ],
)
def test_an_unknown_variable_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, key: str) -> None:
    monkeypatch.setenv(variable, "1")
    message = refused(folder)
    assert variable in message or key in message
    assert key in message


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("risk.cvar_limit", "2", ["2", "less than or equal to 1", "a number, above 0, at most 1"]),
        ("risk.cvar_limit", "tight", ["'tight'", "a number"]),
        ("mode", "swift", ["'swift'", "'paper'"]),
        ("forecasting.backend", "ray", ["'ray'", "'local'", "'dask'"]),
        ("portfolio.allow_short", "perhaps", ["'perhaps'", "bool"]),
    ],
)
def test_a_bad_value_is_named_with_its_source_and_what_is_allowed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str, said: list[str]
) -> None:
    section, _, name = key.rpartition(".")
    text = f"{section}: {{{name}: {value}}}\n" if section else f"{name}: {value}\n"
    (folder / "local.yaml").write_text(text)
    message = refused(folder)
    assert f"{folder / 'local.yaml'}: setting '{key}'" in message
    assert all(part in message for part in said), message

    (folder / "local.yaml").unlink()
    variable = "QUANT_" + key.upper().replace(".", "__")
    monkeypatch.setenv(variable, value)
    message = refused(folder)
    assert f"environment variable {variable}: setting '{key}'" in message
    assert all(part in message for part in said), message

    monkeypatch.delenv(variable)
    message = refused(folder, **({section: {name: value}} if section else {name: value}))
    assert f"command line: setting '{key}'" in message


def test_an_unknown_feature_flag_is_refused(folder: Path) -> None:
    (folder / "local.yaml").write_text("signals: {flags: {trnd: false}}\n")
    message = refused(folder)
    assert "signals.flags" in message and "trnd" in message and "'mean_reversion'" in message


def test_a_broken_or_missing_file_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "local.yaml").write_text("risk: [\n")
    assert "local.yaml is not valid YAML" in refused(folder)
    (folder / "local.yaml").write_text("- risk\n")
    assert "local.yaml must hold 'key: value' pairs" in refused(folder)
    (folder / "local.yaml").unlink()
    monkeypatch.setenv("QUANT_CONFIG", str(folder / "nowhere.yaml"))
    assert "nowhere.yaml' , which is not a file".replace(" ,", ",") in refused(folder)


def test_a_secret_is_never_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_NOTIFICATIONS__SLACK_TOKEN", SECRET)
    settings = load_settings({"risk": {"cvar_limit": 0.03}}, folder)
    assert settings.notifications.slack_token is not None
    assert settings.notifications.slack_token.get_secret_value() == SECRET
    for text in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert SECRET not in text


@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_secret_is_not_printed_with_a_mistake_either(
    folder: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "environment":
        monkeypatch.setenv("QUANT_NOTIFICATIONS__SLACK_TOKEN", SECRET)
        monkeypatch.setenv("QUANT_NOTIFICATIONS__SLACK_CHANEL", "#x")
    else:
        (folder / "local.yaml").write_text(f"notifications: {{slack_token: [{SECRET}]}}\n")
    assert SECRET not in refused(folder)


def test_the_home_is_the_variable_or_the_projects_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_HOME", str(tmp_path / "here"))
    settings = load_settings()
    assert settings.home == quant_home() == tmp_path / "here"
    assert settings.ledger_url == f"sqlite:///{tmp_path / 'here' / 'ledger.db'}"
    monkeypatch.delenv("QUANT_HOME")
    assert quant_home() == PROJECT_ROOT / ".quant"


def test_the_decision_hash_changes_with_what_can_change_a_decision_only() -> None:
    base = load_settings().decision_hash()
    assert load_settings({"forecasting": {"workers": 1}}).decision_hash() == base
    assert load_settings({"notifications": {"slack_channel": "#x"}}).decision_hash() == base
    assert load_settings({"risk": {"cvar_limit": 0.03}}).decision_hash() != base
    assert load_settings({"signals": {"flags": {"trend": False}}}).decision_hash() != base
