"""Attributes that the books compute in every forward, and of which scripts read few."""

import contextlib
import threading


class Kept:
    """Attribute computed when it is read, from what the last forward left in the layer's `_saved`.

    Until then, and after it was set, it is the value that was set: the books set None in the constructor.
    """

    def __init__(self, compute):
        self.compute = compute

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, layer, owner=None):
        if layer is None:
            return self
        if layer._saved is not None:
            return self.compute(layer)
        try:
            return layer.__dict__[self.name]
        except KeyError:
            raise AttributeError(f"{type(layer).__name__} object has no attribute {self.name!r}") from None

    def __set__(self, layer, value):
        settle(layer)
        layer.__dict__[self.name] = value


def _kept(layer):
    """The attributes of this kind that an object has, by name."""
    owners = reversed(type(layer).__mro__)
    return {name: kept for owner in owners for name, kept in vars(owner).items() if isinstance(kept, Kept)}


def unsettled(layer):
    """Has it attributes of this kind that wait to be read?"""
    return getattr(layer, "__dict__", {}).get("_saved") is not None and bool(_kept(layer))


def settle(layer):
    """Compute all such attributes of a layer, which are ordinary ones from then on."""
    if unsettled(layer):
        values = {name: kept.__get__(layer) for name, kept in _kept(layer).items()}
        del layer._saved
        layer.__dict__.update(values)


class _Thread(threading.local):
    copies_as_they_are = False


_thread = _Thread()


def settling(cls):
    """What a class of the reader's gets so that its objects are settled before they are pickled or copied.

    A pickle may be read, and a copy may be used, where the class has the reader's own methods again.
    """

    def settled(theirs):
        def settle_and_reduce(layer, *args):
            if not _thread.copies_as_they_are:
                settle(layer)
            return theirs(layer, *args)

        return settle_and_reduce

    names = "__reduce_ex__", "__copy__", "__deepcopy__"
    return {name: settled(getattr(cls, name)) for name in names if hasattr(cls, name)}


@contextlib.contextmanager
def copies_as_they_are():
    """In this thread, copying an object does not settle it."""
    before, _thread.copies_as_they_are = _thread.copies_as_they_are, True
    try:
        yield
    finally:
        _thread.copies_as_they_are = before
