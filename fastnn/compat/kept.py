"""Attributes that the books compute in every forward, and of which scripts read few."""


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


def settle(layer):
    """Compute all such attributes of a layer, which are ordinary ones from then on."""
    if layer.__dict__.get("_saved") is not None:
        values = {
            name: kept.__get__(layer)
            for owner in type(layer).__mro__
            for name, kept in vars(owner).items()
            if isinstance(kept, Kept)
        }
        del layer._saved
        layer.__dict__.update(values)
