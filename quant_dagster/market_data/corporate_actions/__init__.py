"""Splits, dividends and spin-offs: loaded from vendors, inferred from prices, confirmed, and applied to price series.

Belongs here: what changes the meaning of a price without a trade. ``actions`` loads what vendors report and tells what
was known when; ``splits`` and ``steps`` find actions in prices; ``inference`` runs them over the lake;
``confirmation`` holds sources against each other; ``adjustment`` makes raw, split-adjusted and total-return series.

Does not belong here: restated prices (``cycle.restatement``), the choice of a vendor's row for a bar
(``market_data.vendor_choice``), and cash that is booked (``accounting``).
"""
