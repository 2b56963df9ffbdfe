{{ config(materialized='view') }}

select
    client_order_id,
    decision_id,
    strategy,
    session as decision_session,
    symbol,
    side,
    case side when 'buy' then 1 else -1 end as side_sign,
    quantity,
    order_type,
    time_in_force,
    decision_price,
    created_at,
    status,
    filled_quantity,
    average_fill_price
from {{ source('ledger', 'orders') }}
