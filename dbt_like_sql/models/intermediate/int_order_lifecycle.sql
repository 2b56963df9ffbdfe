{{ config(materialized='view') }}

with events as (
    select
        client_order_id,
        count(*) as event_count,
        min(case when kind = 'submitting' then recorded_at end) as submitted_at,
        min(case when kind = 'accepted' then recorded_at end) as accepted_at,
        min(case when kind in ('partially_filled', 'filled') then session end) as first_fill_session,
        max(case when kind in ('partially_filled', 'filled') then session end) as last_fill_session,
        max(case when kind in ('canceled', 'rejected', 'expired') then session end) as ended_session,
        max(case when kind in ('canceled', 'rejected', 'expired') then reason end) as ended_reason
    from {{ ref('stg_order_events') }}
    group by client_order_id
)

select
    orders.client_order_id,
    orders.decision_id,
    decisions.cycle_id,
    orders.strategy,
    orders.decision_session,
    orders.symbol,
    orders.side,
    orders.side_sign,
    orders.order_type,
    orders.time_in_force,
    orders.quantity,
    orders.filled_quantity,
    orders.filled_quantity / nullif(orders.quantity, 0) as fill_ratio,
    orders.decision_price,
    orders.average_fill_price,
    orders.status,
    orders.status in ('filled', 'canceled', 'rejected', 'expired') as is_final,
    events.event_count,
    orders.created_at as approved_at,
    events.submitted_at,
    events.accepted_at,
    events.first_fill_session,
    events.last_fill_session,
    events.ended_session,
    events.ended_reason,
    decisions.action,
    decisions.reasons as decision_reasons,
    decisions.alpha,
    decisions.confidence,
    decisions.expected_return,
    decisions.quality_score,
    decisions.size_bound_by
from {{ ref('stg_orders') }} as orders
left join events on orders.client_order_id = events.client_order_id
left join {{ ref('stg_decisions') }} as decisions on orders.decision_id = decisions.decision_id
