select fills.execution_id
from {{ ref('trade_blotter') }} as blotter
right join {{ ref('stg_fills') }} as fills on blotter.execution_id = fills.execution_id
where blotter.execution_id is null
