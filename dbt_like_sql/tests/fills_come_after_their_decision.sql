-- A decision is made on a close: the earliest price it can trade at is the next session's.
select
    execution_id,
    decision_session,
    session,
    bar_session
from {{ ref('trade_blotter') }}
where session <= decision_session or bar_session <> session
