{{ config(materialized='view') }}

-- A decision makes at most one order, and the gate judges a symbol at most once a cycle.
select
    decisions.decision_id,
    decisions.cycle_id,
    decisions.session,
    decisions.symbol,
    decisions.action,
    decisions.reasons,
    decisions.alpha,
    decisions.quality_score,
    decisions.forecast_fallback,
    risk.outcome as risk_outcome,
    risk.reasons as risk_reasons,
    risk.requested_quantity,
    risk.approved_quantity,
    orders.client_order_id,
    orders.status as order_status,
    orders.fill_ratio
from {{ ref('stg_decisions') }} as decisions
left join {{ ref('stg_risk_events') }} as risk
    on decisions.cycle_id = risk.cycle_id and decisions.symbol = risk.symbol
left join {{ ref('int_order_lifecycle') }} as orders on decisions.decision_id = orders.decision_id
