"""Prefect automations that a farm wants on its server. `install` is idempotent: run it as often as you like."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from flows.server import HEARTBEAT_S

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.events.schemas.automations import AutomationCore

FLOW_NAME = "rushes-render"
ZOMBIE = "rushes: crash silent renders"
SILENCE = timedelta(seconds=3 * HEARTBEAT_S)
"""A run that has not been heard for three heartbeats is gone."""


def zombie_automation(flow_name: str = FLOW_NAME, silence: timedelta = SILENCE) -> AutomationCore:
    """Marks a run of `flow_name` as Crashed when its heartbeat stops without a word.

    A flow's process that is killed cannot say so, and nothing built into Prefect's server notices. Every event of the
    run counts as a sign of life, not only those named Completed, Failed and so on: our runs also end in states with
    names of their own (`CompletedWithFailures`), and the event carries the state's name.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture, ResourceSpecification

    return AutomationCore(
        name=ZOMBIE,
        description=(
            "A render whose process was killed or cut off stays Running for ever, because nobody is left to say"
            f" otherwise. This marks it as Crashed {silence.total_seconds():.0f} s after its last heartbeat. The takes"
            " it finished are safe in the store; the same command again renders the rest."
        ),
        trigger=EventTrigger(
            match=ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification.model_validate(
                {"prefect.resource.role": "flow", "prefect.resource.name": flow_name}
            ),
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name=None, force=False, state=StateType.CRASHED, message="No heartbeat: its process is gone or cut off."
            )
        ],
    )


async def install(client: PrefectClient, flow_name: str = FLOW_NAME) -> bool:
    """Create the automations that are missing on the client's server, and renew those that an older version made.

    One that a person disabled stays disabled.

    Returns:
        whether something was created or changed.
    """
    wanted = zombie_automation(flow_name)
    found = await client.read_automations_by_name(wanted.name)
    if not found:
        await client.create_automation(wanted)
        return True
    changed = False
    for present in found:
        wanted.enabled = present.enabled
        if _same(present, wanted):
            continue
        await client.update_automation(present.id, wanted)
        changed = True
    return changed


def _same(present: AutomationCore, wanted: AutomationCore) -> bool:
    fields = {"description", "trigger", "actions"}
    # `id`s inside are given by the server, so that only what we set is compared.
    return _without_ids(present.model_dump(mode="json", include=fields)) == _without_ids(
        wanted.model_dump(mode="json", include=fields)
    )


def _without_ids(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_ids(v) for k, v in value.items() if k != "id"}
    if isinstance(value, list):
        return [_without_ids(v) for v in value]
    return value
