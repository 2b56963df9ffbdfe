"""What could happen to the portfolio that the recent past does not show: episodes, shocks, simulations, squeezes.

Belongs here: losses of today's positions under conditions that are stated, how long they take to sell, who holds them,
what they need as margin, and how risk divides over sectors and factors. Does not: VaR and ES of ordinary days
(``risk.measures``), limits on orders (``risk.gate``), where positions and prices come from (``storage``).

``episodes`` replays named crashes, ``shocks`` applies hypothetical moves, ``monte_carlo`` simulates a factor model or
a t copula, ``liquidity`` sells the book over sessions, ``counterparties`` adds up by holder, ``margin`` is Regulation T
and ``attribution`` sums contributions.
"""
