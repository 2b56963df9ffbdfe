{{ config(materialized='table') }}

with counts as (
    select
        cycle_id,
        count(*) as decisions,
        count(*) filter (where action = 'BUY') as buys,
        count(*) filter (where action = 'SELL') as sells,
        count(*) filter (where action = 'HOLD') as holds,
        count(*) filter (where action = 'REJECT') as rejects,
        count(*) filter (where action = 'REJECT' and risk_outcome = 'rejected') as rejected_by_risk,
        count(*) filter (where risk_outcome = 'scaled') as scaled_by_risk,
        count(*) filter (where forecast_fallback is not null) as on_fallback_forecast,
        count(client_order_id) as orders,
        count(*) filter (where order_status = 'filled') as orders_filled,
        count(*) filter (where order_status in ('expired', 'canceled', 'rejected')) as orders_ended_unfilled,
        avg(quality_score) as mean_quality_score
    from {{ ref('int_decision_outcomes') }}
    group by cycle_id
)

select
    cycles.cycle_id,
    cycles.strategy,
    cycles.mode,
    cycles.session,
    cycles.status,
    coalesce(counts.decisions, 0) as decisions,
    coalesce(counts.buys, 0) as buys,
    coalesce(counts.sells, 0) as sells,
    coalesce(counts.holds, 0) as holds,
    coalesce(counts.rejects, 0) as rejects,
    coalesce(counts.rejected_by_risk, 0) as rejected_by_risk,
    coalesce(counts.scaled_by_risk, 0) as scaled_by_risk,
    coalesce(counts.on_fallback_forecast, 0) as on_fallback_forecast,
    coalesce(counts.orders, 0) as orders,
    coalesce(counts.orders_filled, 0) as orders_filled,
    coalesce(counts.orders_ended_unfilled, 0) as orders_ended_unfilled,
    counts.mean_quality_score,
    cycles.settings_hash,
    cycles.code_version,
    cycles.bars_version,
    cycles.signals_version,
    cycles.started_at,
    cycles.completed_at
from {{ ref('stg_cycles') }} as cycles
left join counts on cycles.cycle_id = counts.cycle_id
order by cycles.session, cycles.strategy, cycles.mode
