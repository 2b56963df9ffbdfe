{{ config(materialized='table') }}

with refused as (
    select
        symbol,
        session,
        count(*) as refused_rows,
        string_agg(distinct reason, ',' order by reason) as refused_reasons
    from {{ ref('stg_rejected_rows') }}
    where symbol is not null and session is not null
    group by symbol, session
)

select
    quality.session,
    quality.symbol,
    bars.vendor,
    bars.symbol is not null as has_bar,
    quality.score,
    quality.is_rejected,
    quality.issues,
    quality.issue_count,
    quality.not_evaluated,
    quality.not_evaluated_count,
    coalesce(refused.refused_rows, 0) as refused_rows,
    refused.refused_reasons,
    avg(case when quality.is_rejected then 1.0 else 0.0 end) over (partition by quality.session)
        as session_rejected_share,
    avg(case when quality.is_rejected then 1.0 else 0.0 end) over (partition by quality.symbol)
        as symbol_rejected_share
from {{ ref('stg_quality') }} as quality
left join {{ ref('stg_bars') }} as bars
    on quality.symbol = bars.symbol and quality.session = bars.session
left join refused on quality.symbol = refused.symbol and quality.session = refused.session
order by quality.session, quality.symbol
