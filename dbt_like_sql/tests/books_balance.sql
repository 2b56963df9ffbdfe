select
    transaction_id,
    sum(amount) as imbalance
from {{ ref('stg_postings') }}
group by transaction_id
having abs(sum(amount)) > 0.000001
