select
    session,
    symbol,
    alpha,
    outcome_session
from {{ ref('int_signal_outcomes') }}
where outcome_session <= session
