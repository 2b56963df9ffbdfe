"""The books held against the broker's: orders, fills, positions, cash, commissions.

Here: what a difference is (``breaks``), finding them without any input or output (``compare``), what our side is
(``ours``), writing them down with their consequences (``record``), and what a person does about one (``balancing``).

Not here: asking the broker and when (``cycle.broker_reconciliation``), two vendors' prices against each other
(``quality.reconciliation``), executions that belong to no order (``execution.foreign``).
"""
