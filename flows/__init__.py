"""When and in what order: the Prefect flow of a job, what it shows, the command line and the board.

Importing this package, or `flows.command`, loads neither torch, Ray nor Prefect.
"""
