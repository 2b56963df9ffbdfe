"""The risk sensor and its job: kill and panic conditions obeyed every half minute, automatic actions started."""

import hashlib
import json

import dagster as dg
from sqlalchemy import func, select

from assets.trading import BROKER_POOL
from quant_dagster.accounting import books
from quant_dagster.cycle import dead_man
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.handover import handed_over
from quant_dagster.cycle.panic_watch import watch_panic
from quant_dagster.cycle.risk_actions import act
from quant_dagster.errors import BrokerError, OrderError
from quant_dagster.execution import order_log
from quant_dagster.operations.alerts.execution import execution_alerts
from quant_dagster.operations.alerts.notifications import NotificationError, Notifier
from quant_dagster.operations.alerts.risk import risk_alerts
from quant_dagster.risk import actions
from quant_dagster.risk.control import ControlMode, history
from quant_dagster.risk.permission import enforce_kill, read_permission
from quant_dagster.storage.ledger_tables import account_snapshots
from resources.desk import DeskResource

JOB = "risk_actions"
WORK_TAG = "quant/risk_work"
"""Run tag that names the work a run was started for: the same work is the same name."""


def build_risk_job() -> dg.JobDefinition:
    """``risk_actions``: one pass over everything automatic actions want. It shares the broker's pool."""

    @dg.op(name="act_on_risk", pool=BROKER_POOL, description="Withdraw, order and send what automatic actions want.")
    def act_on_risk(context: dg.OpExecutionContext, desk: DeskResource) -> None:
        trading = desk.open()
        if handed_over(trading):
            context.log.info("the trading daemon acts on risk: nothing is done here")
            return
        done = act(trading)
        context.log.info(
            f"session {done.session}, {done.mode.name}: {done.withdrawn} orders withdrawn, {done.made} made, "
            f"{done.sent} sent, {len(done.working)} actions at work"
        )
        for refused in done.refused:
            context.log.warning(f"refused: {refused}")

    @dg.job(
        name=JOB,
        executor_def=dg.in_process_executor,
        description="Automatic risk actions: what they want, less what is held, becomes orders through the gate.",
    )
    def risk_actions() -> None:
        act_on_risk()

    return risk_actions


def risk_sensor(job: dg.JobDefinition) -> dg.SensorDefinition:
    """Obeys kill and panic conditions, tells people, and starts the job where there is something to do."""

    @dg.sensor(
        job=job,
        name="risk_sensor",
        minimum_interval_seconds=30,
        description="Brings the control mode to where kill and panic conditions want it, and starts risk_actions when "
        "an emergency has something to flatten, an action can go on or orders are to be withdrawn. It never trades "
        "itself, but takes the broker over from a trading daemon that is silent: what works is cancelled. Racing ticks "
        "converge: the run key is the work to be done. Slack hears of each event once.",
    )
    def sensor(context: dg.SensorEvaluationContext, desk: DeskResource) -> dg.SensorResult | dg.SkipReason:
        return tick(desk.open(), desk.notifier(), context.instance)

    return sensor


def tick(trading: TradingContext, notifier: Notifier, instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    """Obey what holds, tell what there is to tell, and ask for a run if there is work for one."""
    trading.ledger.upgrade()
    kills = enforce_kill(trading.ledger, trading.settings, trading.home)
    panics = watch_panic(trading)
    taken_over = look_after_daemon(trading)
    told, trouble = 0, ""
    for alert in [*risk_alerts(trading), *execution_alerts(trading)]:
        try:
            told += notifier.send(alert)
        except NotificationError as error:  # told at a later tick; positions must not wait for Slack
            trouble = f"; {error}"
    holding = ", ".join([*(kill.code for kill in kills), *(panic.code for panic in panics)]) or "none"
    said = f"conditions: {holding}; {told} alerts sent{trouble}{taken_over}"
    if handed_over(trading):
        return dg.SkipReason(f"the trading daemon acts on risk; {said}")
    work = work_to_do(trading)
    if work is None:
        return dg.SkipReason(f"nothing to do; {said}")
    failed = instance.get_runs_count(
        dg.RunsFilter(job_name=JOB, statuses=[dg.DagsterRunStatus.FAILURE], tags={WORK_TAG: work})
    )
    if failed >= trading.settings.risk.actions.attempts:
        return dg.SkipReason(f"{failed} runs for {work} failed, a person has to look ('quant risk act'); {said}")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"{work}:{failed}", tags={WORK_TAG: work})])


def look_after_daemon(trading: TradingContext) -> str:
    """Take over from a trading daemon that is silent; what was done, or why it could not be, empty: all is well.

    A broker that cannot be reached must not keep kill and panic conditions, and alerts, from being looked at.
    """
    try:
        done = dead_man.watch(trading)
    except (BrokerError, OrderError) as error:
        return f"; dead man's switch: {error}; tried again at the next tick"
    return "" if done is None else f"; dead man's switch: {done}"


def work_to_do(trading: TradingContext) -> str | None:
    """A name for what automatic actions have to do now, the same until something moves on; None: nothing.

    There is work while an emergency finds something held that no action closes, or opening orders, an action has not
    been tried in the newest session, or a stop protects nothing any more. Before the account was valued there is none.

    Raises
    ------
    RiskError
        What may be traded cannot be told.
    """
    mode = read_permission(trading.ledger, trading.settings, trading.home).mode
    with trading.ledger.read() as connection:
        session = connection.execute(select(func.max(account_snapshots.c.session))).scalar()
        if session is None:
            return None
        held = {symbol for symbol, one in books.balances(connection).holdings.items() if one.quantity}
        working = actions.working(connection)
        orders = order_log.with_status(connection, order_log.OPEN)
        changes = history(connection, 1)
    emergency = mode is ControlMode.EMERGENCY
    unwanted = [
        order.client_order_id
        for order in orders
        if (emergency and not order.reduce_only) or (order.stop_price is not None and order.symbol not in held)
    ]
    due = [action for action in working if session not in action.tried]
    wanted = {symbol for action in working for symbol in action.quantities}
    # In a pause nothing is ordered: actions wait, and only what is to be withdrawn is work.
    to_order = mode is not ControlMode.PAUSE and (due or (emergency and held - wanted))
    if not unwanted and not to_order:
        return None
    content = [[action.action_id, *map(str, action.tried)] for action in working]
    digest = hashlib.sha256(json.dumps([mode.name, content, unwanted]).encode()).hexdigest()[:16]
    return f"{JOB}:{changes[0].sequence if changes else 0}:{session}:{digest}"
