{{ config(materialized='view') }}

select
    execution_id,
    correction,
    sequence,
    client_order_id,
    session,
    symbol,
    side,
    case side when 'buy' then 1 else -1 end as side_sign,
    quantity,
    price,
    quantity * price as notional,
    commission,
    decision_price,
    reference_price,
    json_extract_string(provenance, '$.broker') as broker,
    json_extract_string(provenance, '$.priced_at') as priced_at,
    -- The text 'not_evaluated' where the bar has no volume: unknown, so null.
    try_cast(json_extract_string(provenance, '$.participation') as double) as participation,
    json_extract_string(provenance, '$.bar.vendor') as bar_vendor,
    json_extract_string(provenance, '$.bar.row_hash') as bar_row_hash,
    cast(json_extract_string(provenance, '$.bar.session') as date) as bar_session,
    cast(json_extract_string(provenance, '$.bar.lake_version') as bigint) as bar_lake_version,
    recorded_at
from {{ source('ledger', 'fills') }}
