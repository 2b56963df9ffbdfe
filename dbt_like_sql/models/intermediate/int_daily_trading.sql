{{ config(materialized='view') }}

select
    session,
    count(*) as fills,
    count(distinct client_order_id) as orders_filled,
    sum(notional) as traded_notional,
    sum(case when side = 'buy' then notional else 0 end) as bought_notional,
    sum(case when side = 'sell' then notional else 0 end) as sold_notional,
    sum(commission) as commission,
    sum(slippage_usd) as slippage_usd,
    sum(execution_usd) as execution_usd
from {{ ref('int_fill_costs') }}
group by session
