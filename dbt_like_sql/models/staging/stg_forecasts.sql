{{ config(materialized='view') }}

select
    session,
    symbol,
    model,
    horizon,
    mean,
    std,
    q05,
    q25,
    q50,
    q75,
    q95,
    data_version,
    coalesce(status = 'fallback', fallback is not null) as is_fallback,
    fallback
from {{ source('lake', 'forecasts') }}
where mean is not null
