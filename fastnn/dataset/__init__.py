"""Data sets of the books: `mnist`, `spiral`. Files are searched for on this machine first, see `_search`."""
