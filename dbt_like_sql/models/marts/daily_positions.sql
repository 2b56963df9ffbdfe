{{ config(materialized='table') }}

with profits as (
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
        commission,
        unrealised_pnl + realised_pnl - commission as total_pnl
    from {{ ref('stg_positions') }}
)

select
    profits.session,
    profits.symbol,
    profits.quantity,
    profits.cost / nullif(profits.quantity, 0) as average_cost,
    profits.price,
    profits.price_session,
    profits.price_session < profits.session as is_price_stale,
    profits.market_value,
    profits.market_value / accounts.equity as weight,
    profits.unrealised_pnl,
    profits.realised_pnl,
    profits.commission,
    profits.total_pnl,
    profits.total_pnl
    - lag(profits.total_pnl, 1, 0) over (partition by profits.symbol order by profits.session) as daily_pnl
from profits
inner join {{ ref('stg_account_snapshots') }} as accounts on profits.session = accounts.session
order by profits.session, profits.symbol
