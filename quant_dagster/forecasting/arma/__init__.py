"""Seasonal ARMA with regressors by exact maximum likelihood: orders, fits and forecasts of every symbol (``sarimax``).

Belongs here: the exact likelihood of one process (``likelihood``), the search for its maximum (``search``) and the
compiled loop over symbols and candidate orders (``candidates``). Does not: autoregression by least squares
(``forecasting.autoregression``).
"""
