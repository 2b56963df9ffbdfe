"""How much a portfolio can lose, and whether that was foreseen: VaR and ES, correlations, concentration, backtests.

Belongs here: numbers from arrays of returns and positions. Does not: where those come from (``storage``), what is
allowed (``risk.gate`` and the settings), stress scenarios and simulations.

``measure`` gives VaR and ES by every method with what each position contributes, ``heat`` the concentration,
``backtests`` the forecasts of each method over history and ``backtest_statistics`` the verdict on them.
"""
