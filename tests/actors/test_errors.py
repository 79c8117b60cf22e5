"""Which class an exception has, also when Ray has wrapped it."""

from __future__ import annotations

import errno
import pickle

import pytest
import ray.exceptions as raised
import torch

from actors.errors import ErrorClass, GangLost, ModerationFailed, PolicyRefused, QualityFault, classify
from actors.gangs.rendering import Failure
from infra.input_errors import InputUnreadable
from infra.inputs import fetch_input
from infra.media import EncodeError, FfmpegMissing
from infra.store.errors import ContentMismatch, OutcomeUnknown, StoreUnavailable
from model.errors import InputError, NonFinite, PeerFailed


def no_space() -> Exception:
    return EncodeError("ffmpeg failed", 1, "av_interleaved_write_frame(): No space left on device")


CASES = [
    (InputError("odd size"), "input", "shot"),
    (InputUnreadable("no such file"), "input", "shot"),
    (NonFinite(3, "latents"), "nan", "shot"),
    (FloatingPointError("nan"), "nan", "shot"),
    (QualityFault("black"), "quality", "shot"),
    (PolicyRefused("not allowed"), "policy", "shot"),
    (MemoryError(), "oom", "shot"),
    (torch.OutOfMemoryError("CUDA out of memory"), "oom", "shot"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "oom", "shot"),
    (torch.AcceleratorError("CUDA error: out of memory"), "oom", "shot"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "oom", "shot"),
    (raised.OutOfMemoryError("the memory monitor killed it"), "oom", "shot"),
    (EncodeError("ffmpeg ended with 1", 1, "Invalid argument"), "internal", "shot"),
    (ValueError("something"), "internal", "shot"),
    (OSError(errno.ENOENT, "no such file"), "internal", "shot"),
    (GangLost("rank 1"), "gang_lost", "farm"),
    (PeerFailed("rank 1: NonFinite"), "gang_lost", "farm"),
    (RuntimeError("[/pytorch/third_party/gloo/pair.cc:534] Connection closed by peer"), "gang_lost", "farm"),
    (raised.ActorDiedError(), "gang_lost", "farm"),
    (raised.ActorUnavailableError("lost", None), "gang_lost", "farm"),
    (raised.WorkerCrashedError(), "gang_lost", "farm"),
    (raised.ActorPlacementGroupRemoved(), "gang_lost", "farm"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "gang_lost", "farm"),
    (RuntimeError("CUDA error: device-side assert triggered"), "gang_lost", "farm"),
    (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), "node", "farm"),
    (RuntimeError("CUDA error: no kernel image is available for execution on the device"), "node", "farm"),
    (RuntimeError("CUDA driver error: unknown error"), "node", "farm"),
    (RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."), "node", "farm"),
    (RuntimeError("Found no NVIDIA driver on your system."), "node", "farm"),
    (RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp"), "node", "farm"),
    (AssertionError("Torch not compiled with CUDA enabled"), "node", "farm"),
    (AssertionError("frames differ"), "internal", "shot"),
    (raised.NodeDiedError("node"), "node", "farm"),
    (raised.ObjectStoreFullError(), "node", "farm"),
    (raised.OutOfDiskError(), "disk", "farm"),
    (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), "gang_lost", "farm"),
    (EncodeError("ffmpeg was killed by signal 9", -9), "node", "farm"),
    (ModerationFailed("the hook answers nothing"), "node", "farm"),
    (FfmpegMissing("no ffmpeg on this machine"), "node", "farm"),
    (ModuleNotFoundError("No module named 'av'"), "node", "farm"),
    (ConnectionResetError("by peer"), "node", "farm"),
    (TimeoutError("no answer"), "node", "farm"),
    (OSError(errno.EMFILE, "Too many open files"), "node", "farm"),
    (PermissionError(errno.EACCES, "Permission denied"), "node", "farm"),
    (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), "node", "farm"),
    (OSError(errno.ENOEXEC, "Exec format error"), "node", "farm"),
    (OSError("image file is truncated"), "internal", "shot"),
    (OSError(errno.ENOSPC, "No space left on device"), "disk", "farm"),
    (OSError(errno.EROFS, "Read-only file system"), "disk", "farm"),
    (no_space(), "disk", "farm"),
    (StoreUnavailable("503"), "store", "farm"),
    (OutcomeUnknown("no answer"), "store", "farm"),
    (ContentMismatch("half of it"), "store", "farm"),
]


@pytest.mark.parametrize(("exception", "error", "whose"), CASES, ids=lambda value: str(value)[:40])
def test_every_kind_has_its_class(exception: Exception, error: str, whose: str) -> None:
    assert classify(exception) == (ErrorClass(error), whose)


@pytest.mark.parametrize(("exception", "error", "whose"), CASES, ids=lambda value: str(value)[:40])
def test_also_behind_rays_wrapping_and_behind_a_cause(exception: Exception, error: str, whose: str) -> None:
    wrapped = raised.RayTaskError("render", "the remote traceback", exception)
    assert classify(wrapped) == (ErrorClass(error), whose)
    outer = KeyError("outer")
    outer.__cause__ = exception  # as `raise outer from exception` sets it
    assert classify(outer) == (ErrorClass(error), whose)


@pytest.mark.parametrize(("number", "error"), [(errno.EACCES, "input"), (errno.ENOENT, "input"), (errno.EIO, "store")])
def test_an_input_that_cannot_be_opened_is_the_shots_and_a_broken_disk_is_not(
    monkeypatch: pytest.MonkeyPatch, number: int, error: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, "refused")

    monkeypatch.setattr("infra.inputs.os.open", refuse)
    with pytest.raises((InputUnreadable, StoreUnavailable)) as caught:
        fetch_input("/in/one.png", roots=["/in"])
    assert classify(caught.value).error == error


def test_a_circle_of_causes_ends() -> None:
    one, other = KeyError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    assert classify(one).error is ErrorClass.INTERNAL


def test_a_failure_carries_the_traceback_and_pickles() -> None:
    class Odd(Exception):
        """One that cannot be pickled."""

    try:
        raise Odd("what\nhappened")
    except Odd as error:
        failure = Failure.of(error)
    again = pickle.loads(pickle.dumps(failure))
    assert (again.error, again.kind, again.message) == (ErrorClass.INTERNAL, "Odd", "what\nhappened")
    assert "test_a_failure_carries_the_traceback" in again.traceback
