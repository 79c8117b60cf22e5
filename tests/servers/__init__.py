"""Servers that the tests start for themselves: SeaweedFS (S3), Prefect, and a proxy that breaks connections."""
