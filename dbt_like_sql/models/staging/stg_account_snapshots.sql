{{ config(materialized='view') }}

select
    session,
    cash,
    market_value,
    equity,
    gross_exposure,
    net_exposure,
    realised_pnl,
    unrealised_pnl,
    commission,
    peak_equity
from {{ source('ledger', 'account_snapshots') }}
