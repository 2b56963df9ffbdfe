"""What the next sessions may bring: return forecasts of every symbol, each with its uncertainty and its provenance.

Belongs here: the estimators, a module or a package per kind of model (``autoregression``, ``arma``, ``variance``,
``spectrum``, ``regimes``, ``ornstein_uhlenbeck``, ``filtered``, ``ensemble``, ``learned``, ``language_model``);
``families``, which word their numbers in the one schema of answers (``records``); the ``runner``, which asks every
family for one session, each falling back on its own; ``combination``, ``validation`` and ``drift``, which decide what a
model is worth. Model code computes from arrays and returns.
Two families have an outside: the language model asks a server, and the trained trees are cached below ``artifacts``.

Does not belong here: features of the past (``features``), what to do about a forecast (``strategies``), how much of
it to do (``risk``), and the storing of forecasts (``storage`` and the assets).
"""
