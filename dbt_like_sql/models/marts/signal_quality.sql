{{ config(materialized='table') }}

-- Only signals whose next-session return is known. Ties share their mean rank, so that the correlation of ranks is
-- Spearman's.
with known as (
    select
        session,
        alpha,
        direction,
        signed_strength,
        forward_return,
        directed_return,
        is_hit,
        rank() over (partition by session, alpha order by signed_strength)
        + (count(*) over (partition by session, alpha, signed_strength) - 1) / 2.0 as strength_rank,
        rank() over (partition by session, alpha order by forward_return)
        + (count(*) over (partition by session, alpha, forward_return) - 1) / 2.0 as return_rank
    from {{ ref('int_signal_outcomes') }}
    where forward_return is not null and signed_strength is not null
)

select
    session,
    alpha,
    count(*) as symbols,
    count(*) filter (where direction > 0) as longs,
    count(*) filter (where direction < 0) as shorts,
    count(*) filter (where is_hit) as hits,
    count(*) filter (where is_hit) / nullif(count(*) filter (where direction <> 0), 0) as hit_rate,
    avg(case when direction <> 0 then directed_return end) as mean_directed_return,
    avg(forward_return) as mean_market_return,
    case
        when count(distinct signed_strength) > 1 and count(distinct forward_return) > 1
            then corr(strength_rank, return_rank)
    end as information_coefficient
from known
group by session, alpha
order by session, alpha
