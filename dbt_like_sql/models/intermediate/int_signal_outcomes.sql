{{ config(materialized='view') }}

-- A return is known once the exchange's next session has a trusted bar of the symbol; until then it is null.
select
    signals.session,
    signals.symbol,
    signals.alpha,
    signals.direction,
    signals.strength,
    signals.confidence,
    signals.risk,
    signals.enabled,
    signals.direction * signals.strength as signed_strength,
    outcome.session as outcome_session,
    outcome.close / start_close.close - 1 as forward_return,
    signals.direction * (outcome.close / start_close.close - 1) as directed_return,
    case
        when signals.direction <> 0 then signals.direction * (outcome.close / start_close.close - 1) > 0
    end as is_hit
from {{ ref('stg_signals') }} as signals
left join {{ ref('int_closes') }} as start_close
    on signals.symbol = start_close.symbol
    and signals.session = start_close.session
    and start_close.is_trusted
left join {{ ref('int_closes') }} as outcome
    on start_close.symbol = outcome.symbol
    and start_close.session_number + 1 = outcome.session_number
    and outcome.is_trusted
