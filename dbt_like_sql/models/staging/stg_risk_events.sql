{{ config(materialized='view') }}

select
    event_id,
    cycle_id,
    session,
    symbol,
    outcome,
    requested_quantity,
    approved_quantity,
    array_to_string(from_json(reasons, '["VARCHAR"]'), ',') as reasons,
    cast(json_array_length(checks) as bigint) as checks_made,
    recorded_at
from {{ source('ledger', 'risk_events') }}
