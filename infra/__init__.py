"""What rushes stands on: the take store, media, settings and the names that everything imports.

Importing this package is light: neither torch, ray nor prefect is ever imported here, and s3fs, pyarrow and PyAV
only where they are used.
"""
