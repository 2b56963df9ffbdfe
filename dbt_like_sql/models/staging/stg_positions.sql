{{ config(materialized='view') }}

select
    session,
    symbol,
    quantity,
    cost,
    price,
    price_session,
    market_value,
    unrealised_pnl,
    realised_pnl,
    commission
from {{ source('ledger', 'positions') }}
