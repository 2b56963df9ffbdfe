{{ config(materialized='view') }}

select
    session,
    symbol,
    alpha,
    direction,
    strength,
    confidence,
    risk,
    priority,
    enabled,
    reasons
from {{ source('lake', 'signals') }}
