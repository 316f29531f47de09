"""The switch of book 2's `common.config`."""

GPU = False
