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
    row_hash
from {{ source('lake', 'bars') }}
