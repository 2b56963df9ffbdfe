{{ config(materialized='view') }}

-- What a fill cost beyond the price it was decided on; positive is worse for us. The way from the decision's close to
-- the bar's reference price is delay, from there to the price paid is execution: the two add up to the slippage.
select
    execution_id,
    correction,
    sequence,
    client_order_id,
    session,
    symbol,
    side,
    side_sign,
    quantity,
    price,
    notional,
    commission,
    decision_price,
    reference_price,
    side_sign * (price - decision_price) / decision_price * 10000 as slippage_vs_decision_bps,
    side_sign * (price - reference_price) / reference_price * 10000 as slippage_vs_reference_bps,
    side_sign * (reference_price - decision_price) * quantity as delay_usd,
    side_sign * (price - reference_price) * quantity as execution_usd,
    side_sign * (price - decision_price) * quantity as slippage_usd,
    commission / notional * 10000 as commission_bps,
    broker,
    priced_at,
    participation,
    bar_vendor,
    bar_row_hash,
    bar_session,
    bar_lake_version,
    recorded_at
from {{ ref('stg_fills') }}
