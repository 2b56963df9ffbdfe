{{ config(materialized='view') }}

select
    symbol,
    session,
    open,
    high,
    low,
    close,
    volume,
    vendor,
    known_at,
    row_hash,
    level_factor,
    vendor_change
from {{ source('lake', 'bars') }}
