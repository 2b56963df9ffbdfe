"""Which checks there are, in the order in which they are reported, and the layout of the arrays they work on.

Every comparison is written so that NaN fails it: a limit or a value that is not known is never passed.
"""

from __future__ import annotations

CODES = (
    "control_mode",
    "reduce_only",
    "breaker_open",
    "locked_out",
    "stale_data",
    "price_collar",
    "instrument",
    "duplicate_order",
    "order_limit",
    "unpriced_position",
    "participation",
    "symbol_limit",
    "sector_limit",
    "counterparty_limit",
    "liquidity_limit",
    "gross_limit",
    "drawdown_limit",
    "net_limit",
    "concentration_limit",
    "turnover_limit",
    "buying_power",
    "margin_limit",
    "no_short",
    "cvar_breach",
)
"""Reason codes. ``control_mode`` is reported as ``control_`` and the mode's name."""
(
    CONTROL_MODE,
    REDUCE_ONLY,
    BREAKER_OPEN,
    LOCKED_OUT,
    STALE_DATA,
    PRICE_COLLAR,
    INSTRUMENT,
    DUPLICATE_ORDER,
    ORDER_LIMIT,
    UNPRICED_POSITION,
    PARTICIPATION,
    SYMBOL_LIMIT,
    SECTOR_LIMIT,
    COUNTERPARTY_LIMIT,
    LIQUIDITY_LIMIT,
    GROSS_LIMIT,
    DRAWDOWN_LIMIT,
    NET_LIMIT,
    CONCENTRATION_LIMIT,
    TURNOVER_LIMIT,
    BUYING_POWER,
    MARGIN_LIMIT,
    NO_SHORT,
    CVAR_BREACH,
) = range(len(CODES))

# What a check said, as a number.
PASSED, SCALED, FAILED, NOT_EVALUATED, EXEMPT, NOT_APPLICABLE = range(6)

# Columns of a symbol's row.
(
    HELD,  # signed shares
    BUYS,  # shares of working orders that may open or enlarge a position
    SELLS,
    CLOSING_BUYS,  # shares of working orders that can only close one, stops apart
    CLOSING_SELLS,
    PRICE,  # NaN: unknown
    PREVIOUS_PRICE,
    AGE,  # sessions since the price; NaN: unknown
    VOLUME,  # average shares a session; NaN: unknown
    SECTOR,  # number of its group
    COUNTERPARTY,
    LOT,
    PROBLEM,  # 1: the instrument cannot be carried
    WORKING,  # orders at work, stops apart
    ORDERED,  # shares ordered in the session
    RESERVED,  # cash kept for working buys
    KNOWN,  # scenarios in which the symbol has a return
    VALUE,  # committed value, as counted in the totals
    HIGH,  # value if all working buys filled, as counted in the totals
    LOW,  # value if all working sells filled
) = range(20)
SYMBOL_COLUMNS = 20

# Places of the account's row.
(
    CASH,  # not reserved by working buys
    EQUITY,
    MODE,
    BREAKER,  # 1: the way to the broker is closed
    GROSS,  # sums over the committed values of all symbols
    SQUARES,
    NET_HIGH,  # net value if every working buy filled and no sell did
    NET_LOW,
    TURNOVER,  # of the session
    ORDERS,  # of the session
    UNPRICED,  # symbols held or on order without a price
    SHORT_ALLOWED,
    VOLUME_REQUIRED,
    MARGIN_ACCOUNT,
) = range(14)
ACCOUNT_PLACES = 14

# What is said of an order beside its size, added up.
DUPLICATE, REFUSED, CLOSING_ONLY, STOP, BESIDE = 1, 2, 4, 8, 16

# Places of the limits' row.
(
    MAX_AGE,
    MAX_COLLAR,
    MAX_ORDERS,
    MAX_PARTICIPATION,
    MAX_SYMBOL,
    MAX_SECTOR,
    MAX_COUNTERPARTY,
    MAX_LIQUIDATION,
    MAX_GROSS,
    MAX_DRAWDOWN_GROSS,
    MAX_NET,
    MAX_CONCENTRATION,
    MAX_TURNOVER,
    INITIAL_MARGIN,
    MAX_CVAR,
    TAIL,  # scenarios in the tail, with its fraction
    LEAST_SCENARIOS,
) = range(17)
LIMIT_PLACES = 17

VERDICT, MEASURED, BOUND = 0, 1, 2
"""Rows of what the kernel says of an order, a column for each check."""
