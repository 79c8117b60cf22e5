"""Deliverables: one file, or one folder of files, for one destination, made from a take or a cut and then checked."""
