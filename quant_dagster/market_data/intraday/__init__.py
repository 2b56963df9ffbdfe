"""Minutes, quotes and trades within a session: loading them, what is missing, and longer bars made of them.

Bars here belong to an exchange session and never reach over its end. Daily bars, which the desk trades on, are
``market_data.ingest``'s; order books are in ``market_data.order_book``.
"""
