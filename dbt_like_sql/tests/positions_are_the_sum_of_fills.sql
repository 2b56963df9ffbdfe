-- At the newest snapshot; a position without any fill and a fill without a position are both wrong.
with newest as (
    select max(session) as session
    from {{ ref('daily_pnl') }}
),

held as (
    select
        positions.symbol,
        positions.quantity
    from {{ ref('daily_positions') }} as positions
    inner join newest on positions.session = newest.session
),

traded as (
    select
        fills.symbol,
        sum(fills.side_sign * fills.quantity) as quantity
    from {{ ref('int_fill_costs') }} as fills
    inner join newest on fills.session <= newest.session
    group by fills.symbol
)

select
    coalesce(held.symbol, traded.symbol) as symbol,
    held.quantity as held,
    traded.quantity as traded
from held
full outer join traded on held.symbol = traded.symbol
where abs(coalesce(held.quantity, 0) - coalesce(traded.quantity, 0)) > 0.00000001
