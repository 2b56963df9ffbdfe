"""What the next sessions may bring: return forecasts of every symbol, each with its uncertainty and its provenance.

Belongs here: one module per model family (``autoregression``, ``sarimax``, ``garch``, ``regimes``, ``fallbacks``),
the schema all of them answer in (``records``), the returns they are fitted to (``history``) and the runner that fits
them all for one session (``runner``). Model code computes from arrays and returns; it reads and writes nothing.

Does not belong here: features of the past (``features``), what to do about a forecast (``strategies``), how much of
it to do (``risk``), and the storing of forecasts (``storage`` and the assets).
"""
