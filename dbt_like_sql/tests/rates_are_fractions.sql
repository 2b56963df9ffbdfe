select
    session,
    alpha,
    hit_rate,
    information_coefficient
from {{ ref('signal_quality') }}
where
    hit_rate not between 0 and 1
    or information_coefficient not between -1.000000001 and 1.000000001
