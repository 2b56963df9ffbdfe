{{ config(materialized='view') }}

select
    decision_id,
    cycle_id,
    session,
    symbol,
    action,
    array_to_string(from_json(reasons, '["VARCHAR"]'), ',') as reasons,
    alpha,
    confidence,
    risk,
    priority,
    expected_return,
    expected_volatility,
    quality_score,
    current_quantity,
    target_quantity,
    decision_price,
    json_extract_string(details, '$.forecast_fallback') as forecast_fallback,
    json_extract_string(details, '$.size.bound_by') as size_bound_by
from {{ source('ledger', 'decisions') }}
