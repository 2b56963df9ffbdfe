{{ config(materialized='view') }}

select
    forecasts.session,
    forecasts.symbol,
    forecasts.model,
    forecasts.horizon,
    forecasts.mean,
    forecasts.std,
    forecasts.q05,
    forecasts.q25,
    forecasts.q75,
    forecasts.q95,
    forecasts.is_fallback,
    outcome.session as outcome_session,
    ln(outcome.close / start_close.close) as realised_return
from {{ ref('stg_forecasts') }} as forecasts
left join {{ ref('int_closes') }} as start_close
    on forecasts.symbol = start_close.symbol
    and forecasts.session = start_close.session
    and start_close.is_trusted
left join {{ ref('int_closes') }} as outcome
    on start_close.symbol = outcome.symbol
    and start_close.session_number + forecasts.horizon = outcome.session_number
    and outcome.is_trusted
