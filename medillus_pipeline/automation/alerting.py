"""The sensors that tell people: of runs that failed, and of checks that failed or folders that changed.

They start nothing, so an alert that cannot be delivered fails no run. Repeats are put together: of one sort of trouble
there is one message in `repeat_minutes`, and the next one says how many were not told.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import dagster as dg

from medillus_pipeline.automation.trouble import (
    OVERLAP,
    Trouble,
    changed_folders,
    ended_since,
    failed_checks,
    failed_run,
    together,
)
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.resources.alerts import Alert, Alerts, AlertsResource

MESSAGES_PER_TICK = 10
"""Most messages of one tick; the last one stands for all that would follow."""
GROUPS_REMEMBERED = 200
GIVEN_UP_AFTER_SECONDS = 24 * 3600
"""How long what reached nobody is tried again."""
OFF = "no alerts are configured (MEDILLUS_ALERTS)"


@dataclass
class Memory:
    """What a sensor remembers between ticks; its cursor."""

    after: float = 0
    """Time (Unix seconds) of the newest change of a run that was looked at."""
    observed: int = 0
    """Newest storage id of an observation that was looked at."""
    seen: dict[str, float] = field(default_factory=dict)
    """Runs looked at within the overlap → time of their change."""
    told: dict[str, list[float]] = field(default_factory=dict)
    """Group → when it was last told (Unix seconds), and how many were not told since."""
    down: list[str] = field(default_factory=list)
    """Hosts whose failure was logged and that did not answer since."""
    stuck: float = 0
    """Since when something has reached nobody; 0: nothing has."""

    @classmethod
    def of(cls, cursor: str | None) -> "Memory | None":
        """What the cursor holds; None at the first tick, and for a cursor of another make."""
        try:
            return cls(**json.loads(cursor)) if cursor else None
        except (ValueError, TypeError):
            return None

    def dumps(self) -> str:
        """As a cursor, bounded: runs of the overlap, and the groups told last."""
        newest = dict(sorted(self.told.items(), key=lambda item: item[1][0])[-GROUPS_REMEMBERED:])
        edge = self.after - 2 * OVERLAP.total_seconds()
        seen = {run: moment for run, moment in self.seen.items() if moment >= edge}
        return json.dumps({**asdict(self), "told": newest, "seen": seen})


def _from_now(context: dg.SensorEvaluationContext) -> Memory:
    """Nothing that lies before now is told: switching alerts on floods nobody."""
    now = time.time()
    seen = {run.run_id: moment for run, moment in ended_since(context.instance, now, set())}
    newest = context.instance.event_log_storage.get_maximum_record_id()
    return Memory(after=now, observed=newest or 0, seen=seen)


def tell(
    context: dg.SensorEvaluationContext, alerts: Alerts, memory: Memory, troubles: Sequence[Trouble], now: float
) -> tuple[int, bool]:
    """Send what is due, one message a group; returns how many were sent, and whether something reached nobody.

    A host that failed is not tried again in this tick, and its failure is logged once until it answers again.
    """
    groups: dict[str, list[Trouble]] = {}
    for trouble in troubles:
        groups.setdefault(trouble.group, []).append(trouble)
    due = []
    for group, like in groups.items():
        last, unsaid = memory.told.get(group, [0.0, 0])
        if now - last < 60 * alerts.settings.repeat_minutes:
            memory.told[group] = [last, unsaid + len(like)]
        else:
            due.append((group, like, int(unsaid)))
    failed: dict[str, str] = {}
    sent, lost = 0, False
    alone = due if len(due) <= MESSAGES_PER_TICK else due[: MESSAGES_PER_TICK - 1]
    for group, like, unsaid in alone:
        done = _send(alerts, together(group, like, _owners(context, like[-1].asset), unsaid), failed)
        sent, lost = sent + done, lost or not done
        if done:
            memory.told[group] = [now, 0]
    if rest := due[len(alone) :]:
        title = f"{len(rest)} further sorts of trouble, which are not told one by one: look at Dagster's runs"
        summary = Alert(id=f"further-{int(now)}", kind="run_failure", title=title, count=sum(len(r[1]) for r in rest))
        done = _send(alerts, summary, failed)
        sent, lost = sent + done, lost or not done
        memory.told |= {group: [now, 0] for group, _, _ in rest} if done else {}
    for host, reason in failed.items():
        if host not in memory.down:
            context.log.error(f"alerts do not reach the {host}: {reason}. This is logged once until they do.")
    if sent and (back := [host for host in memory.down if host not in failed]):
        context.log.info(f"alerts reach these again, or were sent another way: {', '.join(back)}")
    if sent or failed:
        memory.down = sorted(failed)
    return sent, lost


def _send(alerts: Alerts, alert: Alert, failed: dict[str, str]) -> bool:
    done = alerts.send(alert, without=failed)
    failed |= done.failed
    return done.reached


def _owners(context: dg.SensorEvaluationContext, asset: str) -> Sequence[str]:
    """Owners of an asset; nobody for a step that makes none."""
    graph = context.repository_def.asset_graph if context.repository_def is not None else None
    key = dg.AssetKey(asset)
    return graph.get(key).owners if graph is not None and asset and graph.has(key) else []


def _tick(context: dg.SensorEvaluationContext, resource: AlertsResource, *, checks: bool) -> dg.SensorResult:
    with failing_clearly():
        alerts = resource.ready()
    memory = Memory.of(context.cursor)
    if alerts is None or memory is None:
        reason = OFF if alerts is None else "alerts begin with what happens from now on"
        return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=_from_now(context).dumps())
    now = time.time()
    before = asdict(memory)
    troubles: list[Trouble] = []
    if checks:
        changed, memory.observed = changed_folders(context.instance, memory.observed)
        troubles += changed
    for run, moment in ended_since(context.instance, memory.after, set(memory.seen)):
        memory.seen[run.run_id] = moment
        memory.after = max(memory.after, moment)
        if checks:
            troubles += failed_checks(context.instance, run)
        elif run.status is dg.DagsterRunStatus.FAILURE:
            troubles.append(failed_run(context.instance, run))
    sent, lost = tell(context, alerts, memory, troubles, now)
    memory.stuck = (memory.stuck or now) if lost else 0
    if lost and now - memory.stuck < GIVEN_UP_AFTER_SECONDS:
        delivered = {group: told for group, told in memory.told.items() if told[0] == now}
        memory = Memory(**before | {"told": before["told"] | delivered, "down": memory.down, "stuck": memory.stuck})
        reason = "some alerts reached nobody: they are tried again at the next tick"
    elif not troubles:
        reason = "nothing failed since the last look"
    else:
        reason = f"{len(troubles)} things failed, {sent} messages were sent; the others repeat what was told lately"
    return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=memory.dumps())


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the owners of an asset that a run failed, by webhook and e-mail, where MEDILLUS_ALERTS says so.",
)
def alert_on_failed_runs(context: dg.SensorEvaluationContext, alerts: AlertsResource) -> dg.SensorResult:
    """Messages about runs that failed since the last look; no runs."""
    return _tick(context, alerts, checks=False)


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the owners of an asset that a check of it failed, or that a landing folder changed after it was "
    "closed, where MEDILLUS_ALERTS says so. A gate that fails its run is told once, with the run.",
)
def alert_on_failed_checks(context: dg.SensorEvaluationContext, alerts: AlertsResource) -> dg.SensorResult:
    """Messages about checks and changed folders since the last look; no runs."""
    return _tick(context, alerts, checks=True)


ALERT_SENSORS = [alert_on_failed_runs, alert_on_failed_checks]
