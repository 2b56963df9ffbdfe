"""What each message code of Interactive Brokers means for us.

One table: a code, the one answer we give it, and its meaning in short. The codes and their meanings are those of the
broker's "TWS API: error handling" pages (system, error and warning codes) and, where those are silent, of messages that
gateways are known to send (10318, 10329, 10349). A code that is not in the table is answered with `Answer.RECONCILE`:
ask what happened, never guess.

A code alone never ends an order that the broker has acknowledged: see `view` for how the two are put together.
"""

from __future__ import annotations

from quant_dagster.execution.brokers.codes import Answer, Code


def answer_to(number: int) -> Code:
    """The answer to a code; `Answer.RECONCILE` for one that is not in the table."""
    return TABLE.get(number) or Code(number, Answer.RECONCILE, "unknown code")


_RETRY = """
100 more messages a second than the broker takes
102 request number is in use
120 too late today for a VWAP order
133 the order could not be passed on
162 historical data service has an error
165 historical data service has a message
317 market depth was reset
316 market depth was halted
322 the gateway could not process the request
323 the gateway could not process the request
385 scanner request number is in use
386 historical request number is in use
395 orders in one-cancels-all groups are not taken at present
396 only market and limit orders are taken at present
397 only market and limit orders are taken at present
415 a request for quote is still under way
420 real-time request breaks the pacing rules
444 the order is not yet acknowledged
2102 the order cannot be modified while it is being processed
10006 the parent order is not known yet
10187 historical ticks were refused
10189 tick-by-tick data were refused
10197 no market data while another session of the login is on
10230 adviser changes are not saved
"""

_REJECT = """
101 no more market data lines
106 the order may not be transmitted
107 the order is incomplete
109 price outside the percentage of the order defaults
110 price is not on the tick grid
111 time in force does not fit the order type
113 this order type must be DAY
114 relative orders are for stocks only
115 relative orders cannot go to this exchange
116 the exchange is closed to orders
117 block orders need 50 at least
118 VWAP orders go to the VWAP exchange
119 only VWAP orders go to the VWAP exchange
121 wrong BD flag
122 no tag for the order
123 no record of the contract
124 no market rule for the contract
125 buy price must be the best ask
126 sell price must be the best bid
127 linkage orders are not supported here
128 linkage customers only
129 VWAP order comes too late
132 no clearing account
138 the symbol cannot be read
139 the request cannot be read
140 the size must be whole
141 the price must be a number
142 no account info of the institution
143 number is not whole
144 size is not that of its allocation
145 a field is wrong
146 wrong trigger method
147 the condition's contract is incomplete
148 conditions are not supported for the order type
151 no user name
152 the order may not be hidden
153 must be a limit order
154 the security is halted
155 needs user name and account
156 must go to IBSX
157 iceberg or discretionary, not both
158 no offset
159 percent offset outside 0 to 100
160 the size may not be zero
163 price breaks the percentage of the order defaults
164 no market data to check the price with
166 no history of an expired contract
167 VWAP order must be in the future
168 discretionary amount is not on the tick grid
200 no such security, or more than one
201 rejected by the broker
203 the account may not trade the security
300 no such ticker
301-308 the request is malformed
309 too many market depth requests
310 no such market depth request
311-315 origin or combination is wrong
319 wrong log level
320 the gateway could not read the request
321 the gateway refused the request (read-only login among others)
324 the request lacks information
325 discretionary order is not supported here
327 only client id 0 may bind orders of the workstation
328 trailing stop cannot be attached to this
329 the order type cannot be changed
330-333 managed accounts or allocation are wrong
334-337 a date, time or delta is wrong
338-343 not supported on this exchange, or a field is wrong
344-346 not an adviser or institutional account
347-348 short sale slot is wrong
349-353 an attribute is not supported for the order
355 size does not conform to the market rule
356 one-cancels-all group is not supported for this order
358-364 not supported, or a price of the order is wrong
365-366 no such request
367-380 volatility or hedge attribute is wrong
382 price breaks the number of ticks of the order defaults
383 size breaks the order defaults
387 order type is not supported for this exchange
388 size is below the minimum
389-390 routed order id is wrong
391 a time is wrong
392 the contract has expired
393-394 short sale slot or process time is wrong
398 cannot be a condition
400 the algorithm refused the order
401 too long
402 no conditions for this contract
403 wrong stop price
405 child and parent order differ in size
406 currency is not allowed
407 the symbol has characters that are not allowed
408-410 scale order is wrong
411 may not trade outside regular hours
412 the contract cannot be traded
413-414 the request is malformed
416-419 not applicable, or a scale order is wrong
421 wrong route
422 account and clearing may not be changed
423 the quote has expired
424-425 no allocation
426 no account has the shares
427-429 not supported for the security
430 no fundamental data
431 what to show is wrong
432-433 commission or scale is wrong
434 the size may not be zero
435 no account
436 no allocation
437 one flag for outside hours only
439 the algorithm is not known
441-443 the algorithm is not known or refuses
445-449 quote or scale order is no longer valid
354 market data are not subscribed
10000-10003 combination is not allowed
10005 models are read-only
10007-10014 hedge or allocation is wrong
10016-10017 the contract is not visible
10020-10027 display size or combination is wrong
10089-10091 market data are not subscribed for the API
10186 market data are not subscribed
10234-10237 a required field is missing, or all-or-none does not fit
10240-10254 size or cash quantity is not supported
10268-10270 an attribute is not supported any more
10285-10286 fractions are not supported, or too many decimals
10289-10310 a field does not fit the order
10312 not supported for this account
10314-10319 a field does not fit the order, or fractions are not supported
10321 one-cancels-all is not supported for the security
10324-10327 one-cancels-all group is not supported or may not be changed
10330 the expiry is wrong
10336-10345 not supported
"""

_IGNORE = """
131 sweep-to-fill and display size are ignored
399 message about an order that works on
404 the order is held until shares for the short sale are found
481 the size was reduced
492 performance of the algorithm
501 already connected
2100 another account's data were asked for
2101 another client has another account's data
2103 market data farm is down
2105 historical data farm is down
2109 outside-hours flag is ignored; the order works on
2111 start or end of the algorithm was moved
2130 prices have a factor
2137 the order crosses from long to short
2148 the order was changed on the way
2157 security definition farm is down
2161 the order may be held by precaution
2168 eTradeOnly is ignored
2169 firmQuoteOnly is ignored
10018-10019 warning about economic value
10167 delayed market data
10233 defaults came from a preset
10239 accounts do not fit the risk score
10311 directly routed: higher fees
10329 directly routed: higher fees
10331-10334 warning about the order
10346 market data are shown elsewhere
10347 limited liquidity
10349 time in force was set by a preset; the order works on
"""

_QUIET = """
2104 market data farm is up
2106 historical data farm is up
2107 historical data farm is idle
2108 market data farm is idle
2119 market data farm is connecting
2152 depth exchanges
2158 security definition farm is up
"""

_RECONCILE = """
103 the order number was used before, or is below one that was
104 the order is filled already
105 differs from the order under the number
134 the modification failed
135 the broker finds no such order
136 the order cannot be cancelled
137 too late to cancel
161 the order is in no state to be cancelled
440 the algorithm cannot be changed
504 not connected
507-509 the connection broke
510-516 a request could not be sent
518-519 a request could not be sent
521-549 a request could not be sent
551-584 a request could not be sent
1101 the broker's servers are back: market data must be asked for again
1102 the broker's servers are back
10147 the order to be cancelled was not found
10148 the order cannot be cancelled in its state
10149 the order number to be cancelled is not valid
10225 a trade was taken back
10328 connection lost: order data could not be resolved
10335 presets of the workstation contradict each other
"""

_QUIET_RECONCILE = """
202 the order was cancelled: its report says so
"""

_HALT = """
326 the client id is in use
357 the client is out of date
438 the application is locked
502 no workstation or gateway at the address
503 the workstation is out of date
505-506 the versions do not understand each other
517 the contract is not known
520 no socket
550 the session could not be started
1100 the gateway has lost the broker's servers
1300 the gateway's port was changed
2110 the gateway has lost the broker's servers
10015 trading is not allowed in the API
10141 the paper trading disclaimer must be accepted
"""


def _read(text: str, answer: Answer, *, told: bool = True) -> dict[int, Code]:
    found = {}
    for line in text.strip().splitlines():
        numbers, meaning = line.split(" ", 1)
        first, _, last = numbers.partition("-")
        for number in range(int(first), int(last or first) + 1):
            found[number] = Code(number, answer, meaning, told)
    return found


_SECTIONS = (
    _read(_RETRY, Answer.RETRY),
    _read(_REJECT, Answer.REJECT),
    _read(_IGNORE, Answer.IGNORE),
    _read(_QUIET, Answer.IGNORE, told=False),
    _read(_RECONCILE, Answer.RECONCILE),
    _read(_QUIET_RECONCILE, Answer.RECONCILE, told=False),
    _read(_HALT, Answer.HALT),
)
TABLE: dict[int, Code] = {number: code for section in _SECTIONS for number, code in section.items()}
