"""Interactive Brokers, through TWS or IB Gateway and ``ib_insync`` or ``ib_async``, whichever is installed.

Belongs here: everything that knows the broker's protocol, its library, its message codes. Does not: what a report or
an execution means for an order and for the books (``execution.desk``), when to connect again (``execution``).
"""

from quant_dagster.execution.brokers.ibkr.adapter import IbkrBroker

__all__ = ["IbkrBroker"]
