"""`python -m flows` is the command `rushes`."""

import sys

from flows.command import main

if __name__ == "__main__":
    sys.exit(main())
