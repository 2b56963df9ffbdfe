{{ config(materialized='view') }}

select
    cycle_id,
    strategy,
    mode,
    session,
    status,
    settings_hash,
    code_version,
    cast(json_extract(inputs, '$.lake_versions.bars') as bigint) as bars_version,
    cast(json_extract(inputs, '$.lake_versions.signals') as bigint) as signals_version,
    started_at,
    completed_at
from {{ source('ledger', 'cycles') }}
