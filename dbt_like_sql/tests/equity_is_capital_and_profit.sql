select
    session,
    equity,
    contributed_capital + realised_pnl + unrealised_pnl - total_commission as explained
from {{ ref('daily_pnl') }}
where abs(equity - (contributed_capital + realised_pnl + unrealised_pnl - total_commission)) > 0.01
