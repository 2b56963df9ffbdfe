"""Market regimes: Gaussian hidden Markov models of every symbol's returns (``hidden_markov``).

Belongs here: expectation maximisation over the symbols (``estimation``) and of one series (``baum_welch``), the choice
of the number of regimes (``selection``), what a fitted model predicts (``mixture``). Does not: what regimes mean for
the routing of signals (``strategies``).
"""
