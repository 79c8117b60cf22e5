"""`python -m flows` is the command `rushes`."""

from flows.command import run

if __name__ == "__main__":
    run()
