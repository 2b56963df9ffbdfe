{{ config(materialized='view') }}

select
    transaction_id,
    line,
    session,
    account,
    symbol,
    quantity,
    amount,
    execution_id,
    recorded_at
from {{ source('ledger', 'postings') }}
