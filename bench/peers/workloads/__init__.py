"""One file for each family of operations; see `workload.py`."""
