"""`rushes doctor`: what this machine, and a store, can do."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Literal

import typer

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.options import Config, Json, Quiet, Verbose
from flows.verbs.words import size

ENCODERS = ("libx264", "png", "mjpeg")
LOW_DISK, LOW_MEMORY, LOW_SHARED = 5 * 10**9, 4 * 10**9, 10**9
"""Bytes under which a render is likely to fail or to crawl: torch and Ray alone take about 1 GB of memory."""

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, what was found, and what to do where that is not good."""

    name: str
    state: State
    found: str
    advice: str = ""


def doctor(
    store: Annotated[
        str | None, typer.Argument(help="Also try this store: writes and removes small objects.", metavar="[STORE]")
    ] = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """What this machine, its programs and a store can do; 1 if something does not work."""
    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    findings: list[Finding] = []
    checks = [
        python,
        names,
        packages,
        machine,
        ffmpeg,
        accelerators,
        default_model,
        prefect_of(config),
        settings_of(config),
    ]
    if store is not None:
        checks.append(store_of(store, config))
    for check in checks:
        try:
            findings.extend(check())
        except Exception as error:  # a check that fails is a finding, whatever it failed of
            findings.append(Finding(check.__name__.replace("_", " "), "failed", f"{type(error).__name__}: {error}"))
    exit_code = ExitCode.FAULTS if any(finding.state == "failed" for finding in findings) else ExitCode.DONE
    output.result({"format": FORMAT, "exit": int(exit_code), "checks": [asdict(finding) for finding in findings]})
    output.table(
        ("what", "state", "found", "what to do"), [(one.name, one.state, one.found, one.advice) for one in findings]
    )
    return exit_code


def python() -> Iterator[Finding]:
    """The interpreter."""
    found = f"{platform.python_version()} ({sys.executable})"
    supported = sys.version_info >= (3, 11)
    yield Finding(
        "python", "ok" if supported else "failed", found, "" if supported else "Python 3.11 or newer is needed."
    )


def names() -> Iterator[Finding]:
    """The five import names."""
    from infra.names import ShadowedPackage, check_import_names

    try:
        check_import_names()
    except ShadowedPackage as error:
        yield Finding("import names", "failed", str(error), "Run from another folder, or rename that one.")
    else:
        yield Finding("import names", "ok", "catalogs, model, infra, actors, flows are this installation's")


def packages() -> Iterator[Finding]:
    """Versions that must fit together."""
    found = {}
    for name in ("torch", "ray", "prefect", "fastapi", "diffusers", "transformers", "pyarrow", "fsspec", "s3fs"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            yield Finding(name, "failed", "not installed", "pip install -c constraints.txt rushes")
    text = ", ".join(f"{name} {number}" for name, number in found.items())
    yield Finding("packages", "ok", text)
    if _numbers(found.get("fastapi", "0")) >= (0, 155) and _numbers(found.get("prefect", "0")) < (3, 9):
        advice = "pip install 'fastapi<0.155': this Prefect's server does not start with a newer one."
        yield Finding("fastapi", "failed", found["fastapi"], advice)
    if found.get("fsspec") != found.get("s3fs"):
        advice = "Install the same version of both."
        yield Finding("fsspec and s3fs", "warning", f"{found.get('fsspec')} and {found.get('s3fs')}", advice)


def machine() -> Iterator[Finding]:
    """Cores, memory, disk, shared memory."""
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{cores} cores, {size(memory.total)} of memory, {size(memory.available)} free"
    advice = "Close something: torch and Ray alone take about 1 GB."
    yield Finding("machine", *_enough(memory.available >= LOW_MEMORY, found, advice))
    disk = shutil.disk_usage(os.path.expanduser("~"))
    yield Finding(
        "disk", *_enough(disk.free >= LOW_DISK, f"{size(disk.free)} free", "Films are encoded on this disk first.")
    )
    if os.path.isdir("/dev/shm"):
        shared = shutil.disk_usage("/dev/shm")
        advice = "Ray passes frames through it; in a container give it more (--shm-size=4g)."
        yield Finding(
            "shared memory", *_enough(shared.free >= LOW_SHARED, f"{size(shared.free)} free in /dev/shm", advice)
        )


def ffmpeg() -> Iterator[Finding]:
    """The ffmpeg that films are encoded with."""
    from infra.media import ffmpeg_path

    program = str(ffmpeg_path())
    listing = subprocess.run(
        [program, "-hide_banner", "-encoders"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    ).stdout
    first = subprocess.run(
        [program, "-version"], capture_output=True, text=True, check=True, timeout=30, stdin=subprocess.DEVNULL
    ).stdout.split("\n")[0]
    encoders = {line.split()[1] for line in listing.splitlines() if len(line.split()) > 1}
    missing = [name for name in ENCODERS if name not in encoders]
    found = f"{' '.join(first.split()[:3])} ({program})"
    if missing:
        yield Finding(
            "ffmpeg",
            "failed",
            f"{found}, without {', '.join(missing)}",
            "Use imageio-ffmpeg's (pip install imageio-ffmpeg).",
        )
    else:
        yield Finding("ffmpeg", "ok", f"{found} with {', '.join(ENCODERS)}")
    yield _delivery(program)


def _delivery(program: str) -> Finding:
    """Which delivery profiles this ffmpeg cannot make."""
    from infra.deliver.profiles import load_profiles
    from infra.deliver.tool import lacking

    profiles = load_profiles()
    lacks = lacking(list(profiles.values()), program)
    if not lacks:
        return Finding("delivery", "ok", f"all {len(profiles)} profiles can be made")
    return Finding("delivery", "warning", f"this ffmpeg cannot make {', '.join(lacks)}", next(iter(lacks.values())))


def accelerators() -> Iterator[Finding]:
    """What torch computes on."""
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            bf16 = "with" if torch.cuda.is_bf16_supported() else "without"
            yield Finding(f"GPU {index}", "ok", f"{card.name}, {size(card.total_memory)}, {bf16} bf16")
        return
    capability = torch.backends.cpu.get_cpu_capability()
    note = "Renders run on the CPU: fine for the shipped model, hours for large ones."
    yield Finding("GPU", "ok", f"none; torch {torch.__version__} on the CPU ({capability}). {note}")


def default_model() -> Iterator[Finding]:
    """The shipped model."""
    from model.facts import read_facts

    facts = read_facts("default")
    clip = (
        f"{facts['width']}x{facts['height']}, {facts['frames']} frames at {facts['fps']:g} fps, {facts['steps']} steps"
    )
    yield Finding("default model", "ok", f"{facts['name']}: {clip} ({', '.join(facts['tasks'])})")


def prefect_of(config: str | None) -> Callable[[], Iterator[Finding]]:
    """A check of where runs are recorded, as the settings say."""

    def prefect() -> Iterator[Finding]:
        from flows.server import configured_url, prefect_home, running_dashboard
        from infra.settings import Settings

        own = Settings.load(config).prefect.api_url
        if (url := configured_url(own)) is not None:
            yield Finding("Prefect", "ok", f"{url} ({'prefect.api_url' if own else 'PREFECT_API_URL or profile'})")
        elif (dashboard := running_dashboard()) is not None:
            yield Finding("Prefect", "ok", f"dashboard at {dashboard.ui_url}")
        else:
            where = f"an embedded server on {prefect_home()} for the time of a job"
            yield Finding("Prefect", "ok", where, "To watch: rushes dashboard")

    return prefect


def settings_of(config: str | None) -> Callable[[], Iterator[Finding]]:
    """A check of the settings that stand in `config`, else in ./rushes.toml, and in the environment."""

    def settings() -> Iterator[Finding]:
        from infra.settings import FILE, Settings

        Settings.load(config)
        source = config or (FILE if os.path.isfile(FILE) else "defaults")
        yield Finding("settings", "ok", f"{source} and RUSHES_* in the environment")

    return settings


def store_of(url: str, config: str | None) -> Callable[[], Iterator[Finding]]:
    """A check of what the store at `url` promises."""

    def store() -> Iterator[Finding]:
        from infra.settings import Settings
        from infra.store import open_store

        opened = open_store(url, Settings.load(config).store)
        probe = opened.probe()
        puts = (
            "conditional puts"
            if probe.conditional_put == "required"
            else f"no conditional puts ({probe.conditional_put})"
        )
        checks = "checksums verified by the server" if probe.checksums_verified else "size and MD5 compared"
        yield Finding(
            "store", "ok", f"{probe.url}: format {probe.format}, {puts}, {checks}, tried in {probe.seconds:.1f} s"
        )

    return store


def _enough(good: bool, found: str, advice: str) -> tuple[State, str, str]:
    return ("ok", found, "") if good else ("warning", found, advice)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
