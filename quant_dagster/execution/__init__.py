"""From an approved order to a booked fill: who sends, who listens, what it cost, and whether the broker agrees.

Belongs here: the order state machine (``orders``) and its log (``order_log``); the ``desk``, which alone sends and
cancels, and ``collecting`` and ``booking``, which write down what the broker says; ``brokers`` behind one protocol
(``broker``) and the simulated ``gateway``; ``algorithms`` that slice; ``quality``, what execution cost;
``reconciliation``, the account against the broker's. Does not: deciding orders (``strategies``) or allowing them
(``risk``).
"""
