{{ config(materialized='table') }}

select
    alpha,
    min(session) as first_session,
    max(session) as last_session,
    count(*) as sessions,
    cast(sum(longs + shorts) as bigint) as signals,
    sum(hits) / nullif(sum(longs + shorts), 0) as hit_rate,
    sum(mean_directed_return * (longs + shorts))
    / nullif(sum(case when mean_directed_return is not null then longs + shorts end), 0) as mean_directed_return,
    count(information_coefficient) as ranked_sessions,
    avg(information_coefficient) as mean_information_coefficient,
    stddev_samp(information_coefficient) as information_coefficient_std,
    avg(information_coefficient) / nullif(stddev_samp(information_coefficient), 0)
    * sqrt(count(information_coefficient)) as information_coefficient_t
from {{ ref('signal_quality') }}
group by alpha
order by alpha
