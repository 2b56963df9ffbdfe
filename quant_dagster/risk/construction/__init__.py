"""Target weights of a whole portfolio by an optimiser, under the desk's limits and in whole lots.

Belongs here: from returns, views and limits to weights and shares. Does not: where the views come from
(``strategies``), sizes of single signals (``risk.sizing``), the checks on the orders that follow (``risk.gate``: it
judges them as it judges all others).

``portfolio.construct`` is the door: ``optimise`` finds the weights with skfolio, ``limits`` says what they must obey
and why they cannot, ``black_litterman`` turns views into expected returns and ``lots`` rounds. A portfolio that cannot
be had is a `RiskError` with the reason; no limit is ever dropped to get one.
"""
