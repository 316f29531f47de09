"""Downloads of the reader's own `dataset`, answered from fastnn's data sets: the books' servers refuse or are gone.

Only the download itself is replaced, so a file that the reader has is never asked for. The modules' `urllib` becomes
one whose `urlopen` and `urlretrieve` know the files of MNIST, PTB and the sequences by the last part of their address.
What fastnn finds nowhere is downloaded as the reader's code says.
"""

import functools
import inspect
import os
import sys
import types


class Downloads:
    """What stands in modules of the reader's in place of `urllib`. provided: takes what was delivered, by file."""

    def __init__(self, provided: dict[str, str]) -> None:
        self.provided = provided
        self.on = True
        self._before: list[tuple] = []  # (a module's names, name, what it was, what it is)

    def step_in(self, module) -> None:
        names = vars(module)
        for name, value in list(names.items()):
            ours = self._instead_of(module, value)
            if ours is not None:
                self._before.append((names, name, value, ours))
                names[name] = ours

    def restore(self) -> None:
        self.on = False
        for names, name, before, ours in self._before:
            if names.get(name) is ours:
                names[name] = before
        self._before = []

    def _instead_of(self, module, value):
        """What stands in place of a module's value; None: it stays."""
        urllib, request = sys.modules.get("urllib"), sys.modules.get("urllib.request")
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            of_sequence = module.__name__.endswith(".sequence") and value.__name__ == "load_data"
            return self._load_data(module, value) if of_sequence else None
        if request is None or not isinstance(value, types.ModuleType | types.FunctionType):
            return None
        ours = {
            "urlopen": self._urlopen(module.__name__, request.urlopen),
            "urlretrieve": self._urlretrieve(module.__name__, request.urlretrieve),
        }
        if value is urllib:
            return _like(urllib, {"request": _like(request, ours)})
        if value is request:
            return _like(request, ours)
        return next((f for name, f in ours.items() if value is getattr(request, name)), None)

    def _urlopen(self, module, theirs):
        @functools.wraps(theirs)
        def urlopen(url, *args, **named):
            def download():
                return theirs(url, *args, **named)

            content = self._content(module, getattr(url, "full_url", url), download)
            if not isinstance(content, bytes):
                return content
            import email.message
            import io
            import urllib.response

            headers = email.message.Message()
            headers["Content-Length"] = str(len(content))
            return urllib.response.addinfourl(io.BytesIO(content), headers, getattr(url, "full_url", url), 200)

        return urlopen

    def _urlretrieve(self, module, theirs):
        @functools.wraps(theirs)
        def urlretrieve(url, filename=None, reporthook=None, data=None):
            def download():
                return theirs(url, filename, reporthook, data)

            content = download() if filename is None else self._content(module, url, download)
            if not isinstance(content, bytes):
                return content
            _write(filename, content)
            for block in range(2) if reporthook else ():
                reporthook(block, len(content), len(content))
            import email.message

            return filename, email.message.Message()

        return urlretrieve

    def _load_data(self, module, theirs):
        """`load_data` of book 2's sequences, which downloads nothing and gives None where there is no file."""

        @functools.wraps(theirs)
        def load_data(*args, **named):
            given = inspect.signature(theirs).bind(*args, **named)
            given.apply_defaults()
            name = next(iter(given.arguments.values()), None)
            path = os.path.join(os.path.dirname(os.path.abspath(module.__file__)), str(name))
            if (
                self.on
                and not os.path.exists(path)
                and _known(str(name)) is not None
                and name == os.path.basename(name)
            ):
                try:
                    _write(path, self._content(module.__name__, name, _no_download))
                except FileNotFoundError as error:
                    print(f"fastnn: {error}", file=sys.stderr)
            return theirs(*args, **named)

        return load_data

    def _content(self, module, url, download):
        """The bytes of a file that fastnn knows, else what download() gives."""
        known = _known(url) if self.on and isinstance(url, str) else None
        if known is None:
            return download()
        from ..dataset import _search

        data_set, file, mirrors, packed = known
        try:
            (path,) = _search.locate(data_set, [file], mirrors)
        except FileNotFoundError as nowhere:
            if _search.offline():
                raise
            try:
                return download()
            except OSError as error:
                raise FileNotFoundError(f"{nowhere}\n{url}: {type(error).__name__}: {error}") from error
        self.provided[f"{module}: {os.path.basename(url)}"] = f"was not there: fastnn's copy of {path} was taken"
        content = _search.read(path, file)
        if not packed:
            return content
        import gzip

        return path.read_bytes() if path.suffix == ".gz" else gzip.compress(content, 1, mtime=0)


def _no_download():
    raise FileNotFoundError("the book's load_data has no download")


def _known(url):
    """(data set, file, mirrors, whether the address is that of a .gz) of a file of fastnn's; None if it is none."""
    from ..dataset import mnist, ptb, sequence

    name = url.partition("?")[0].rpartition("/")[2]
    for data_set, source in (("mnist", mnist), ("ptb", ptb), ("book2", sequence)):
        for file in source.FILES.values():
            if name in (file.name, f"{file.name}.gz"):
                return data_set, file, source.MIRRORS, name != file.name
    return None


def _like(module, changes):
    """A module with the names of another one, some of them changed."""
    made = types.ModuleType(module.__name__, module.__doc__)
    vars(made).update({**vars(module), **changes})
    return made


def _write(path, content):
    from pathlib import Path

    from ..weights import write_atomically

    write_atomically(Path(path), content)
