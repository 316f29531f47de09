"""The import hook: modules of a package `common` are looked at as soon as they have run."""

import importlib
import importlib.machinery
import os
import sys

from .session import Options, Replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STDLIB = os.path.dirname(os.__file__) + os.sep
_SITE = f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}"


class Hook:
    """A finder for `sys.meta_path`. It finds nothing itself but asks the others, and wraps what runs a module."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.replaced = Replaced()
        self.provided: dict[str, str] = {}  # module -> what fastnn did where the reader's own was not found
        self.seen = False  # has a module of the reader's `common` been looked at?
        self._replacements: Any = None  # made when the first module of the book is there: it needs NumPy
        self._downloads: Any = None  # made when the first module is there that may download
        if options.compat:
            self._oldnumpy.install()

    @property
    def _oldnumpy(self):
        return importlib.import_module("fastnn.dropin.oldnumpy")

    @property
    def used(self):
        """Has a module of the book been imported?"""
        return self._replacements is not None

    @property
    def replacements(self):
        if self._replacements is None:
            self._replacements = importlib.import_module("fastnn.dropin.replace").Replacements(self.options)
            self._replacements.replaced = self.replaced
        return self._replacements

    @property
    def recorder(self):
        """What counts and compares calls; None if nothing does."""
        return self._replacements.recorder if self.used else None

    @property
    def kept(self) -> dict[str, str]:
        """{"module.name": why it stays the reader's}."""
        return self._replacements.kept if self.used else {}

    def find_spec(self, name, path=None, target=None):
        if not self._concerns(name):
            return None
        spec = self._found(name, path, target)
        if spec is None and self.options.provide and name.partition(".")[0] in _BOOK_PACKAGES:
            spec = importlib.import_module("fastnn.dropin.provide").find_spec(name, self)
        if spec is not None and type(spec.loader) in _FILE_LOADERS:
            self._wrap(name, spec)
        return spec

    def _concerns(self, name):
        first, _, rest = name.partition(".")
        return first in _BOOK_PACKAGES or _of_common(rest) or self.options.compat

    def _found(self, name, path, target):
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                return spec
        return None

    def _wrap(self, name, spec):
        """Let the module's loader call us after it has run the module."""
        loader, run = spec.loader, spec.loader.exec_module
        own = not is_installed(spec.origin)

        def exec_module(module):
            del loader.exec_module
            if self.options.compat and own:
                self._oldnumpy.run(module, loader)
            else:
                run(module)
            if self.options.compat and name == "numpy":
                self._oldnumpy.restore_names(module)
            if own:
                self._look_at({name: module})

        loader.exec_module = exec_module

    def replace_loaded(self):
        """The same for modules that are loaded already."""
        if self.options.compat and "numpy" in sys.modules:
            self._oldnumpy.restore_names(sys.modules["numpy"])
        loaded = {name: m for name, m in list(sys.modules.items()) if _of_common(name) or _of_dataset(name)}
        self._look_at({n: m for n, m in loaded.items() if not is_installed(getattr(m, "__file__", None))})

    def _look_at(self, modules):
        """Replace what the modules of `common` among these define, and step in where those of `dataset` download."""
        if of_common := [module for name, module in modules.items() if _of_common(name)]:
            self.seen = True
            self.replacements.replace(of_common)
        for name, module in modules.items():
            if _of_dataset(name):
                if self._downloads is None:
                    self._downloads = importlib.import_module("fastnn.dropin.downloads").Downloads(self.provided)
                self._downloads.step_in(module)

    def restore(self):
        if self._downloads is not None:
            self._downloads.restore()
        if self._replacements is not None:
            self._replacements.restore()
        if self.options.compat:
            self._oldnumpy.remove()


_BOOK_PACKAGES = "common", "dataset"
_FILE_LOADERS = importlib.machinery.SourceFileLoader, importlib.machinery.SourcelessFileLoader


def _of_common(name):
    """Is it a module of a package called common, at the top or inside another one?"""
    return "common" in name.split(".")


def _of_dataset(name):
    """Is it a module of a package called dataset, not ours, that may download?"""
    package, _, module = name.rpartition(".")
    first, _, last = package.rpartition(".")
    return last == "dataset" and first != "fastnn" and module in ("mnist", "ptb", "sequence")


def is_installed(path):
    """Is it a file of Python itself or of an installed package?"""
    return path is None or path.startswith(_STDLIB) or any(folder in path for folder in _SITE)
