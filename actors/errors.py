"""Error classes of a take, and whose fault each is.

The class decides what happens next (DESIGN.md, "Error classes decide"): a fault of the shot counts towards quarantine,
a fault of the farm is tried again under the job's breaker.
"""

from __future__ import annotations

import errno
import signal
from enum import StrEnum
from typing import Literal, NamedTuple

from infra.input_errors import InputUnreadable
from infra.store.errors import StoreError
from model.errors import InputError, NonFinite, PeerFailed

Whose = Literal["shot", "farm"]


class ErrorClass(StrEnum):
    """The kinds of failure that are told apart. The values stand in quarantine records, events and the manifest."""

    INPUT = "input"
    NAN = "nan"
    QUALITY = "quality"
    POLICY = "policy"
    OOM = "oom"
    INTERNAL = "internal"
    GANG_LOST = "gang_lost"
    STORE = "store"
    DISK = "disk"
    NODE = "node"

    @property
    def whose(self) -> Whose:
        """Whom the fault is counted against."""
        return "farm" if self in _FARM else "shot"


_FARM = frozenset({ErrorClass.GANG_LOST, ErrorClass.STORE, ErrorClass.DISK, ErrorClass.NODE})
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_NODE = frozenset(
    {errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.EAGAIN, errno.ENETDOWN,
     errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM,
     errno.ENODEV, errno.ENOLCK, errno.ENOTCONN, errno.EREMOTEIO, errno.ENOEXEC, errno.ETXTBSY}
)  # fmt: skip
"""What a machine says of its own files, mounts and programs: an input that cannot be read has an error of its own."""
_ENDED_FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT})
_ALLOCATOR = ("can't allocate memory", "out of memory", "cublas_status_alloc_failed")
_COLLECTIVE = ("gloo", "connection closed by peer", "connection reset by peer", "nccl", "processgroup")
_DRIVER = (
    "cuda driver", "nvidia driver", "nvml", "cuda initialization", "driver/library version mismatch",
    "driver shutting down", "system driver mismatch", "system not yet initialized", "no kernel image",
    "unsupported toolchain", "unsupported ptx", "not compiled with cuda", "forward compatibility was attempted",
    "no cuda-capable device", "busy or unavailable", "invalid device ordinal", "no hip gpus", "uncorrectable ecc",
    "nvlink error", "hardware stack error", "fallen off the bus",
)  # fmt: skip
"""A device, driver or build that fails whatever take comes."""
_DEVICE = ("cuda error", "cudnn", "cublas_status", "cufft", "cusolver", "hip error", "triton error")
"""What a take may have brought about, by its shape: it counts as the death that follows it."""


class QualityFault(Exception):
    """The rendered pictures were measured and are not good enough to keep."""


class PolicyRefused(Exception):
    """The show's policy forbids this take."""


class ModerationFailed(Exception):
    """The moderation hook gave no verdict: it raised, or said something that is none. Nothing is known of the take."""


class PlacementImpossible(Exception):
    """A gang that this cluster can never hold. The message names the sizes that it can (exit 2)."""


class GangLost(Exception):
    """A gang ended under its take: a rank died, fell silent or left the others."""


class Classified(NamedTuple):
    """What an exception means to the scheduler."""

    error: ErrorClass
    whose: Whose


def classify(exception: BaseException) -> Classified:
    """Class of an exception, looking through Ray's wrapping and through explicit causes (``raise … from …``).

    The outermost exception that has a class of its own decides; one that nothing is known about is ``internal``,
    and counts against the shot, because it came out of rendering that shot.
    """
    seen: set[int] = set()
    current: BaseException | None = exception
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        found = _class_of(current)
        if found is not None:
            return Classified(found, found.whose)
        cause = getattr(current, "cause", None)  # RayTaskError keeps the remote exception here
        current = cause if isinstance(cause, BaseException) else current.__cause__
    return Classified(ErrorClass.INTERNAL, ErrorClass.INTERNAL.whose)


def _class_of(exception: BaseException) -> ErrorClass | None:
    of_ray = _class_of_ray(exception)
    if of_ray is not None:
        return of_ray
    if isinstance(exception, (InputError, InputUnreadable)):
        return ErrorClass.INPUT
    if isinstance(exception, (NonFinite, FloatingPointError)):
        return ErrorClass.NAN
    if isinstance(exception, QualityFault):
        return ErrorClass.QUALITY
    if isinstance(exception, PolicyRefused):
        return ErrorClass.POLICY
    if isinstance(exception, (GangLost, PeerFailed)):
        return ErrorClass.GANG_LOST
    if isinstance(exception, OSError) and exception.errno in _DISK_FULL:
        return ErrorClass.DISK
    if getattr(exception, "no_space", False):  # what ffmpeg said, as infra.media tells it
        return ErrorClass.DISK
    if isinstance(exception, StoreError):
        return ErrorClass.STORE
    return _class_of_torch(exception) or _class_of_node(exception)


def _class_of_node(exception: BaseException) -> ErrorClass | None:
    """What the machine and its network do to any take: no shot is to blame, whichever was at work."""
    if isinstance(exception, (ModerationFailed, ConnectionError, TimeoutError)):
        return ErrorClass.NODE
    if isinstance(exception, ImportError) or _named(exception, "infra", "FfmpegMissing"):  # not installed there
        return ErrorClass.NODE
    if isinstance(exception, OSError) and exception.errno in _NODE:
        return ErrorClass.NODE
    if getattr(exception, "returncode", None) in _ENDED_FROM_OUTSIDE:  # ffmpeg, as infra.media tells it
        return ErrorClass.NODE
    return None


def _class_of_torch(exception: BaseException) -> ErrorClass | None:
    """Memory, devices and collectives of torch. Told by name and text, so that the scheduler never imports torch."""
    if isinstance(exception, MemoryError) or _named(exception, "torch", "OutOfMemoryError"):
        return ErrorClass.OOM
    # CUDA and its libraries have errors of their own that say so in words alone.
    said = str(exception).lower() if isinstance(exception, RuntimeError) else ""
    if any(words in said for words in _ALLOCATOR):
        return ErrorClass.OOM
    if any(words in said for words in _DRIVER) or _named(exception, "pynvml", "NVMLError"):
        return ErrorClass.NODE
    if _named(exception, "torch", "AcceleratorError") or _named(exception, "torch", "DistError"):
        return ErrorClass.GANG_LOST  # the device context or the process group is spoilt: only a new gang helps
    if any(words in said for words in (*_COLLECTIVE, *_DEVICE)):
        return ErrorClass.GANG_LOST
    # What torch was built without: it raises AssertionError for that.
    if isinstance(exception, AssertionError) and "not compiled with cuda" in str(exception).lower():
        return ErrorClass.NODE
    return None


def _class_of_ray(exception: BaseException) -> ErrorClass | None:
    if not type(exception).__module__.startswith("ray"):
        return None
    import ray.exceptions as raised  # the exception is Ray's, so Ray is loaded already

    # NodeDied, WorkerCrashed and OutOfMemory are not subclasses of RayActorError, nor of each other.
    if isinstance(exception, raised.OutOfMemoryError):
        return ErrorClass.OOM
    if isinstance(exception, raised.OutOfDiskError):
        return ErrorClass.DISK
    if isinstance(exception, (raised.NodeDiedError, raised.LocalRayletDiedError, raised.ObjectLostError)):
        return ErrorClass.NODE
    if isinstance(exception, (raised.ObjectStoreFullError, raised.RaySystemError, raised.RpcError)):
        return ErrorClass.NODE
    lost = (
        raised.RayActorError,  # ActorDied and ActorUnavailable among them
        raised.WorkerCrashedError,
        raised.ActorPlacementGroupRemoved,
        raised.TaskPlacementGroupRemoved,
        raised.ActorUnschedulableError,
        raised.TaskCancelledError,
    )
    return ErrorClass.GANG_LOST if isinstance(exception, lost) else None


def _named(exception: BaseException, package: str, name: str) -> bool:
    return any(
        kind.__name__ == name and (kind.__module__ == package or kind.__module__.startswith(f"{package}."))
        for kind in type(exception).__mro__
    )
