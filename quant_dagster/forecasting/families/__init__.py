"""Model families: each turns the returns into one answer, or one reason why there is none, per symbol.

Belongs here: one module per kind of model, which asks the estimators of ``forecasting`` and words their numbers in the
terms of the forecast schema (``protocol``), and the list of all of them (``registry``). Does not: estimation itself,
and what happens when a family fails (``forecasting.runner``).
"""
