"""The two books' own behaviour where it differs from fastnn's: what `fastnn.patch` puts into their modules."""
