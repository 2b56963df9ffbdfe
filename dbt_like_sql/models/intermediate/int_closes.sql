{{ config(materialized='table') }}

-- Sessions are numbered over all symbols: a symbol without a bar on a session has a gap there, not a longer step.
with sessions as (
    select
        session,
        row_number() over (order by session) as session_number
    from (select distinct session from {{ ref('stg_bars') }})
)

select
    bars.symbol,
    bars.session,
    sessions.session_number,
    bars.close,
    bars.vendor,
    coalesce(not quality.is_rejected, false) as is_trusted
from {{ ref('stg_bars') }} as bars
inner join sessions on bars.session = sessions.session
left join {{ ref('stg_quality') }} as quality
    on bars.symbol = quality.symbol and bars.session = quality.session
