{{ config(materialized='table') }}

select
    model,
    horizon,
    min(session) as first_session,
    max(session) as last_session,
    count(*) as forecasts,
    count(*) filter (where is_fallback) as fallbacks,
    avg(realised_return - mean) as mean_error,
    sqrt(avg((realised_return - mean) * (realised_return - mean))) as root_mean_square_error,
    avg((realised_return - mean) * (realised_return - mean) / nullif(std * std, 0)) as standardised_square_error,
    avg(case when mean * realised_return > 0 then 1.0 else 0.0 end) as direction_hit_rate,
    avg(case when realised_return between q25 and q75 then 1.0 when q25 is not null then 0.0 end) as coverage_50,
    avg(case when realised_return between q05 and q95 then 1.0 when q05 is not null then 0.0 end) as coverage_90
from {{ ref('int_forecast_outcomes') }}
where realised_return is not null
group by model, horizon
order by model, horizon
