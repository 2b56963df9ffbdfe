"""Order books rebuilt from a venue's snapshot and changes: which prices stand, how much at each, and since when.

``book`` holds the levels, ``changes`` is what happens to them, ``sync`` watches the sequence, ``known_range`` says how
far a book is complete, ``binance`` reads one venue's messages, ``rebuild`` replays a recording and holds the result
against the venue's own best quotes. Sending orders is no business of this package.
"""
