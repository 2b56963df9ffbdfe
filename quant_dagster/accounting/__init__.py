"""Books: double-entry postings, positions, profit and loss, end-of-session snapshots.

Here: what a trade is (``fills``), what it and a corporate action make of a position (``holdings``, ``events``), how a
transaction is posted (``journal``) and the books as a whole (``books``); dividends, splits, borrow cost (``actions``);
deposits, interest, conversions of currency (``cash``); open lots by first-in-first-out (``lots``); the account at a
close (``snapshots``) and over time (``performance``).

Not here: how orders come to be filled (``execution``), what prices are adjusted for (``market_data``), and whether the
broker agrees (``execution.reconciliation``).
"""
