"""How far returns may scatter: conditional variances of every symbol, and the correlations between them.

Belongs here: GARCH and GJR (``garch``), EGARCH (``egarch``), their likelihoods (``*_likelihood``) and the one bounded
search that maximises them (``search``, stepping by ``quasi_newton``); DCC (``correlations``); tests of the standardised
residuals (``diagnostics``). Does not: variances that follow from a model of the mean, or of regimes.
"""
