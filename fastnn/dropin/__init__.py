"""Drop-in use: the methods of the classes in a reader's own copy of the books' `common`, replaced by compiled ones.

`patch()` puts an import hook (`hook`) before the modules of `common`. When one has run, each class and function in it
that has a book's name is looked at (`recognise`): what was printed is known by its fingerprints (`printings`,
`sources`), anything else is tried (`trials`). If it computes what the book's does, its methods are replaced inside the
class, or the function in its module, by those of `fastnn.compat` (`replace`). Everything else stays the reader's: other
classes, constructors, subclasses, star imports, instances that exist already. Importing this package loads neither
NumPy nor the kernels.
"""

from .session import Options, StrictError, finish, patch, patched, unpatch

__all__ = ["Options", "StrictError", "finish", "patch", "patched", "unpatch"]
