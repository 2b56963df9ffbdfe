"""Opportunity cost: does a trade beat what its capital could do instead? Numbers in, verdicts out.

The alternatives are cash, what is held now where the trade turns it over, and the candidates ranked before it that
take the capital both want.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SESSIONS_A_YEAR = 252


@dataclass(frozen=True)
class Candidate:
    """A trade that opens or adds to a position.

    Attributes
    ----------
    capital
        Value of what is opened or added, account currency.
    turnover
        Value traded, what is closed on the way included.
    expected_return
        Of one session in the trade's direction, a fraction of the capital.
    cost
        Of going in and out again, a fraction of the capital.
    kept_return
        Expected return of one session of the opposite position it would turn over; None: there is none.
    """

    symbol: str
    priority: float
    capital: float
    turnover: float
    expected_return: float
    cost: float
    kept_return: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A candidate beside its best alternative: returns over the holding period after costs, as fractions.

    ``limited_by`` names the limit that the candidates before it have used up, None where there is room.
    """

    net_return: float
    alternative: str
    alternative_return: float
    passes: bool
    limited_by: str | None = None

    def as_details(self) -> dict[str, object]:
        """Plain JSON values for the decision."""
        return {
            "net_return": round(self.net_return, 12),
            "alternative": self.alternative,
            "alternative_return": round(self.alternative_return, 12),
            "passes": self.passes,
            "limited_by": self.limited_by,
        }


def compare(
    candidates: Iterable[Candidate],
    *,
    holding_sessions: int,
    cash_rate: float,
    gross_room: float,
    turnover_room: float,
) -> Mapping[str, Comparison]:
    """Every candidate against its best alternative, by symbol.

    Candidates are taken by priority (ties by name), as the risk gate serves them; each that passes uses up room. One
    for which nothing is left competes with all that passed before it, and passes only if it promises more than each of
    them. One that is left some room is the gate's to scale.

    Parameters
    ----------
    holding_sessions
        Sessions a position is held for: the horizon of the forecast.
    cash_rate
        Annual.
    gross_room, turnover_room
        What may still be opened and traded, account currency.
    """
    cash = cash_rate * holding_sessions / _SESSIONS_A_YEAR
    result: dict[str, Comparison] = {}
    best_before: tuple[float, str] | None = None
    for one in sorted(candidates, key=lambda c: (-c.priority, c.symbol)):
        net = one.expected_return * holding_sessions - one.cost
        limited_by = "gross_limit" if gross_room <= 0.0 else "turnover_limit" if turnover_room <= 0.0 else None
        alternatives = [(cash, "cash")]
        if one.kept_return is not None:
            alternatives.append((one.kept_return * holding_sessions, "keep"))
        if limited_by is not None and best_before is not None:
            alternatives.append(best_before)
        value, name = max(alternatives)
        passes = net > value
        result[one.symbol] = Comparison(net, name, value, passes, limited_by)
        if passes:
            gross_room -= one.capital
            turnover_room -= one.turnover
            best_before = max((net, one.symbol), best_before or (net, one.symbol))
    return result
