"""What `rushes deliver` says: what it made or would make, what was refused, and which profiles there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.words import plural, size

if TYPE_CHECKING:
    from infra.deliver.orders import Order
    from infra.deliver.profiles import Profile
    from infra.deliver.run import Done
    from infra.store import Store

MOST_SHOWN = 200


def tell_made(store: Store, done: Done, missing: list[dict[str, str]], output: Output) -> int:
    """What a run came to; 1 where something was refused or a shot has no take, else 0."""
    code = ExitCode.FAULTS if done.failed or missing else ExitCode.DONE
    told = {"made": done.made, "standing": done.stood, "failed": done.failed, "missing": missing}
    output.result({"format": FORMAT, "store": store.url, "exit": int(code), **told})
    rows = [(record["profile"], record["bytes"], record["file"]) for record in done.made[:MOST_SHOWN]]
    if rows:
        output.table(("profile", ">bytes", "file"), rows)
    _tell_faults(done.failed, missing, output)
    total = sum(file["bytes"] for record in done.made for file in record["files"])
    parts = [f"{plural(len(done.made), 'deliverable')} made, {size(total)}", f"{len(done.stood):,} stood already"]
    if done.failed:
        parts.append(f"{len(done.failed):,} refused")
    if missing:
        parts.append(f"{plural(len(missing), 'shot')} without a take")
    output.line("; ".join(parts))
    return code


def tell_orders(store: Store, orders: list[Order], missing: list[dict[str, str]], output: Output) -> int:
    """What a run would make, and the exit code that it would have for the shots without a take."""
    told = [
        {**order.item.source, "profile": order.profile.name, "folder": order.folder, "name": order.name,
         "locale": order.locale}
        for order in orders
    ]  # fmt: skip
    code = ExitCode.FAULTS if missing else ExitCode.DONE
    head = {"format": FORMAT, "store": store.url, "exit": int(code), "dry_run": True}
    output.result({**head, "orders": told, "missing": missing})
    output.table(("profile", "of", "name"), [(o.profile.name, o.item.title, f"{o.folder}/{o.name}") for o in orders])
    _tell_faults([], missing, output)
    return code


def tell_profiles(profiles: Any, lacks: dict[str, str], store: Store, output: Output) -> int:
    """The profiles, and what of them this ffmpeg cannot make; 0."""
    found: list[Profile] = list(profiles.values())
    told = [{"name": p.name, "description": p.description, "lacks": lacks.get(p.name)} for p in found]
    output.result({"format": FORMAT, "store": store.url, "exit": int(ExitCode.DONE), "profiles": told})
    output.table(("profile", "what for"), [(p.name, lacks.get(p.name) or p.description) for p in found])
    return ExitCode.DONE


def _tell_faults(failed: list[dict[str, Any]], missing: list[dict[str, str]], output: Output) -> None:
    if failed:
        rows = [(one["profile"], one.get("shot_id") or one.get("cut"), one["error"]) for one in failed[:MOST_SHOWN]]
        output.table(("refused", "of", "why"), rows)
    if missing:
        output.table(("no take", "why"), [(f"{one['show']}/{one['shot_id']}", one["why"]) for one in missing])
