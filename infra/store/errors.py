"""What can go wrong with a store. All of it is the farm's fault: no error here may ever quarantine a shot.

Every error carries one message, so that it survives pickling on its way through Ray, and no message holds a secret.
"""

import errno

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Of an OSError about a file on this machine: no fault of the store's, so it is raised as it is."""


class StoreError(Exception):
    """Anything the store could not do."""


class NotFound(StoreError):
    """There is no object under this path."""


class Exists(StoreError):
    """`create` found an object under this path. It may be our own, if a reply was lost: read it back to know."""


class Changed(StoreError):
    """`replace` found another tag, or no object. It may be our own write, if a reply was lost: read it back."""


class StoreUnavailable(StoreError):
    """The store does not answer, or not now: network, 5xx, throttling, disk full. Worth trying again later."""


class OutcomeUnknown(StoreUnavailable):
    """A write was sent and no answer came: it may have happened. Read back, then decide."""


class ContentMismatch(StoreUnavailable):
    """What arrived is not what was sent (size or checksum). Nothing was committed; send it again."""


class StoreRefused(StoreError):
    """This store cannot be used as it is set up: credentials, bucket, format, or missing guarantees (exit code 2)."""


class CommitNewer(StoreRefused):
    """A commit in a format newer than this program's: it may well be a commit, so it is neither done nor replaced."""


class Damaged(StoreError):
    """An object that a reader must understand cannot be read as what it claims to be. Never taken for success."""


class CommitUnreadable(Damaged):
    """A commit that cannot be read as the commit of its take. It is never "done"."""


class CommitMisplaced(CommitUnreadable):
    """A commit that reads well but names another spec_key than its own path."""


class PlanDiffers(StoreError):
    """The job already holds another plan, and a plan is never rewritten (exit code 2)."""


class Superseded(StoreError):
    """Another owner has taken over: a higher epoch stands in the store. Stop writing for this job."""


class LeaseLost(Superseded):
    """The lease is no longer ours."""
