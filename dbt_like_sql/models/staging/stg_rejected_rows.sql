{{ config(materialized='view') }}

select
    vendor,
    source,
    "row" as row_number,
    symbol,
    session,
    reason,
    detail,
    known_at
from {{ source('lake', 'rejected_rows') }}
