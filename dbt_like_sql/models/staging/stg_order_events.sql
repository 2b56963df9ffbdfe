{{ config(materialized='view') }}

select
    client_order_id,
    sequence,
    kind,
    session,
    json_extract_string(payload, '$.reason') as reason,
    recorded_at
from {{ source('ledger', 'order_events') }}
