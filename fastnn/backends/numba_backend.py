"""The Numba backend: operations compiled at their first call."""
