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
    fallback is not null as is_fallback,
    fallback
from {{ source('lake', 'forecasts') }}
