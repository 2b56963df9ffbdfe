{{ config(materialized='table') }}

with contributions as (
    select
        accounts.session,
        coalesce(sum(-postings.amount), 0) as contributed_capital
    from {{ ref('stg_account_snapshots') }} as accounts
    left join {{ ref('stg_postings') }} as postings
        on accounts.session >= postings.session and postings.account = 'capital'
    group by accounts.session
),

totals as (
    select
        accounts.session,
        accounts.equity,
        accounts.cash,
        accounts.gross_exposure,
        accounts.net_exposure,
        accounts.realised_pnl,
        accounts.unrealised_pnl,
        accounts.commission,
        accounts.peak_equity,
        contributions.contributed_capital,
        accounts.equity - contributions.contributed_capital as total_pnl,
        lag(accounts.equity - contributions.contributed_capital, 1, 0) over sessions as previous_pnl,
        lag(accounts.equity) over sessions as previous_equity
    from {{ ref('stg_account_snapshots') }} as accounts
    inner join contributions on accounts.session = contributions.session
    window sessions as (order by accounts.session)
)

select
    totals.session,
    totals.equity,
    totals.total_pnl - totals.previous_pnl as daily_pnl,
    (totals.total_pnl - totals.previous_pnl)
    / coalesce(totals.previous_equity, totals.contributed_capital) as daily_return,
    totals.total_pnl,
    1 - totals.equity / totals.peak_equity as drawdown,
    totals.peak_equity,
    totals.contributed_capital,
    totals.cash,
    totals.gross_exposure,
    totals.net_exposure,
    totals.gross_exposure / totals.equity as leverage,
    totals.realised_pnl,
    totals.unrealised_pnl,
    coalesce(trading.fills, 0) as fills,
    coalesce(trading.traded_notional, 0) as traded_notional,
    coalesce(trading.traded_notional, 0) / coalesce(totals.previous_equity, totals.contributed_capital) as turnover,
    coalesce(trading.commission, 0) as daily_commission,
    totals.commission as total_commission,
    coalesce(trading.slippage_usd, 0) as slippage_usd,
    coalesce(trading.execution_usd, 0) as execution_usd
from totals
left join {{ ref('int_daily_trading') }} as trading on totals.session = trading.session
order by totals.session
