"""The trading domain: plain, typed Python. Only ``definitions.py`` knows Dagster.

Packages import one way, from the top of this list to the bottom: ``storage``, ``observability``,
``market_data``, ``quality``, ``features``, ``forecasting``, ``strategies``, ``accounting``, ``risk``,
``execution``, ``cycle``, ``operations``, ``cli``. Each package's docstring says what belongs in it.
"""

__version__ = "0.1.0"
