"""`python -I -S _die_with_parent.py PARENT_PID PROGRAM ARG...` becomes PROGRAM and dies with its parent.

A script of its own and no `preexec_fn`: that would fork with all the parent's threads and locks half-way through their
work, which is not safe in a process that runs Ray, gRPC and torch.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):  # the parent died before the line above
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
