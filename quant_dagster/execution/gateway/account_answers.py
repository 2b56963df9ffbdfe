"""Answers about the account: positions, values, portfolio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_dagster.execution.gateway import messages
from quant_dagster.execution.gateway.records import ZERO
from quant_dagster.execution.gateway.wire import Fields
from quant_dagster.storage.types import money

if TYPE_CHECKING:
    from quant_dagster.execution.gateway.server import TwsServer
    from quant_dagster.execution.gateway.session import Session


def positions(server: TwsServer, session: Session, fields: Fields) -> None:
    account = server.venue.account
    session.subscriptions.positions = True
    for held in account.positions():
        session.send(messages.position(held, server.venue.instruments[held.symbol], account.number))
    session.send(messages.position_end())


def cancel_positions(server: TwsServer, session: Session, fields: Fields) -> None:
    session.subscriptions.positions = False


def account_values(server: TwsServer) -> list[tuple[str, str, str]]:
    """Tag, value and currency of what the account is worth."""
    venue = server.venue
    cash, equity = venue.account.cash, venue.margin.equity()
    amounts = {
        "CashBalance": cash,
        "TotalCashValue": cash,
        "TotalCashBalance": cash,
        "SettledCash": cash,
        "NetLiquidation": equity,
        "EquityWithLoanValue": equity,
        "GrossPositionValue": venue.margin.gross_value(),
        "StockMarketValue": equity - cash,
        "BuyingPower": venue.buying_power(),
        "AvailableFunds": venue.buying_power() / venue.margin.leverage,
        "RealizedPnL": venue.account.realized_pnl,
        "UnrealizedPnL": venue.margin.unrealized(),
    }  # fmt: skip
    values = [(tag, f"{money(amount):.2f}", "USD") for tag, amount in amounts.items()]
    return [("AccountType", "INDIVIDUAL", ""), ("AccountCode", venue.account.number, ""), *values]


def account_updates(server: TwsServer, session: Session, fields: Fields) -> None:
    session.subscriptions.account = fields.flag(2)
    if session.subscriptions.account:
        _send_account(server, session)
        session.send(messages.account_download_end(server.venue.account.number))


def _send_account(server: TwsServer, session: Session) -> None:
    venue, account = server.venue, server.venue.account
    for tag, value, currency in account_values(server):
        session.send(messages.account_value(tag, value, currency, account.number))
    for held in account.positions():
        mark = venue.margin.mark(held.symbol)
        session.send(messages.portfolio(held, venue.instruments[held.symbol], account.number, mark, ZERO))
    session.send(messages.account_time(server.now()))


def push_account(server: TwsServer, session: Session) -> None:
    """Account values to a client that wants to go on hearing of them."""
    if session.subscriptions.account:
        _send_account(server, session)
    account = server.venue.account.number
    for request in session.subscriptions.account_multi:
        for tag, value, currency in account_values(server):
            session.send(messages.account_update_multi(request, account, tag, value, currency))
    for request, tags in session.subscriptions.account_summary.items():
        _send_summary(server, session, request, tags)


def account_multi(server: TwsServer, session: Session, fields: Fields) -> None:
    request, account = fields.integer(2), server.venue.account.number
    session.subscriptions.account_multi.add(request)
    for tag, value, currency in account_values(server):
        session.send(messages.account_update_multi(request, account, tag, value, currency))
    session.send(messages.account_update_multi_end(request))


def cancel_account_multi(server: TwsServer, session: Session, fields: Fields) -> None:
    session.subscriptions.account_multi.discard(fields.integer(2))


def account_summary(server: TwsServer, session: Session, fields: Fields) -> None:
    request, tags = fields.integer(2), tuple(fields[4].split(","))
    session.subscriptions.account_summary[request] = tags
    _send_summary(server, session, request, tags)
    session.send(messages.account_summary_end(request))


def _send_summary(server: TwsServer, session: Session, request: int, tags: tuple[str, ...]) -> None:
    for tag, value, currency in account_values(server):
        if tag in tags or "All" in tags:
            session.send(messages.account_summary(request, server.venue.account.number, tag, value, currency))


def cancel_account_summary(server: TwsServer, session: Session, fields: Fields) -> None:
    session.subscriptions.account_summary.pop(fields.integer(2), None)
