{{ config(materialized='view') }}

select
    symbol,
    session,
    score,
    issues,
    case when issues = '' then 0 else len(string_split(issues, ',')) end as issue_count,
    not_evaluated,
    case when not_evaluated = '' then 0 else len(string_split(not_evaluated, ',')) end as not_evaluated_count,
    score < {{ var('minimum_quality_score') }} as is_rejected
from {{ source('lake', 'quality') }}
