"""Entry of the ``quant`` command: the command tree, and errors turned into a sentence and an exit code."""

from __future__ import annotations

import sys

import typer

from quant_dagster import __version__
from quant_dagster.errors import (
    BooksError,
    BrokerError,
    ConfigurationError,
    ControlError,
    DataUnavailableError,
    LedgerError,
    MalformedDataError,
    OrderError,
    QuantError,
    RiskError,
    VendorError,
)

_EXIT_CODES: tuple[tuple[type[QuantError], int], ...] = (
    (ConfigurationError, 2),
    (DataUnavailableError, 3),
    (MalformedDataError, 3),
    (VendorError, 3),
    (RiskError, 4),
    (OrderError, 4),
    (BrokerError, 6),
    (ControlError, 4),
    (LedgerError, 5),
    (BooksError, 5),
)

app = typer.Typer(
    name="quant",
    help="A systematic trading desk: data, features, forecasts, signals, risk-approved orders, fills and books.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"quant_dagster {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Global options."""


def build() -> typer.Typer:
    """The whole command tree; made once."""
    if app.registered_commands:
        return app
    from quant_dagster.cli import (
        actions_commands,
        broker_commands,
        control_commands,
        cost_commands,
        data_commands,
        feature_commands,
        gateway_commands,
        inspect_commands,
        intervention_commands,
        intraday_commands,
        lake_commands,
        ledger_commands,
        market_store_commands,
        model_commands,
        operations_commands,
        order_commands,
        risk_commands,
        signal_commands,
        trade_commands,
        trading_commands,
        vendor_commands,
        verify_commands,
    )

    for module in (
        trading_commands,
        trade_commands,
        inspect_commands,
        model_commands,
        operations_commands,
        control_commands,
    ):
        module.register(app)
    app.add_typer(cost_commands.app, name="costs")
    app.add_typer(order_commands.app, name="order")
    app.add_typer(broker_commands.app, name="broker")
    app.add_typer(gateway_commands.app, name="gateway")
    app.add_typer(verify_commands.app, name="verify")
    app.add_typer(data_commands.app, name="data")
    app.add_typer(actions_commands.app, name="actions")
    app.add_typer(intraday_commands.app, name="intraday")
    app.add_typer(feature_commands.app, name="features")
    app.add_typer(signal_commands.app, name="signals")
    app.add_typer(vendor_commands.app, name="vendors")
    intervention_commands.register(risk_commands.app)
    app.add_typer(risk_commands.app, name="risk")
    app.add_typer(lake_commands.app, name="lake")
    app.add_typer(market_store_commands.app, name="market-store")
    app.add_typer(ledger_commands.ledger_app, name="ledger")
    return app


def main() -> None:
    """Run the command line."""
    try:
        build()()
    except QuantError as error:
        sys.stderr.write(f"quant: {error}\n")
        sys.exit(next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1))
    except KeyboardInterrupt:
        sys.stderr.write("quant: interrupted; running the same command again goes on where it stopped\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
