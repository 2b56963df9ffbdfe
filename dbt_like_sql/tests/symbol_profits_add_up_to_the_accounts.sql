select
    pnl.session,
    pnl.total_pnl,
    sum(positions.total_pnl) as of_symbols
from {{ ref('daily_pnl') }} as pnl
inner join {{ ref('daily_positions') }} as positions on pnl.session = positions.session
group by pnl.session, pnl.total_pnl
having abs(pnl.total_pnl - sum(positions.total_pnl)) > 0.01
