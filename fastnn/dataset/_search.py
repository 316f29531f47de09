"""Where the files of a data set are looked for, how they are verified, and how missing ones are fetched.

Order: the argument, FASTNN_DATA, the book's own dataset/ beside the running script, the user cache, then mirrors
(never with FASTNN_OFFLINE=1). A file is known by its uncompressed contents, since every mirror compressed them anew.
"""

import gzip
import hashlib
import importlib.util
import io
import os
import sys
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..weights import write_atomically

_GZIP_MAGIC = b"\x1f\x8b"
_TIMEOUT = 30  # s, for a mirror to answer


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: `size` and hashes are those of the uncompressed contents; it may be kept as name.gz.

    `packed`: what mirrors append to the name.
    """

    name: str
    size: int
    md5: str
    sha256: str
    packed: str = ".gz"

    def check(self, content: bytes, source: object) -> None:
        """Raise ValueError, naming `source`, unless `content` is exactly this file."""
        if len(content) != self.size:
            raise ValueError(f"{source}: has {len(content)} bytes uncompressed, {self.name} has {self.size}")
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ValueError(f"{source}: its contents are not those of {self.name} (sha256 differs)")


def places(data_set: str, data_dir: str | os.PathLike | None = None) -> list[tuple[str, Path]]:
    """Folders to look into, in order, each with the reason why: [(reason, folder), ...]."""
    roots = [("argument", data_dir), ("FASTNN_DATA", os.environ.get("FASTNN_DATA"))]
    found = [
        (reason, folder)
        for reason, root in roots
        if root
        for folder in (Path(root).expanduser(), Path(root).expanduser() / data_set)
    ]
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    beside = Path(script).absolute().parent if script else Path.cwd()
    found += [("book", folder / "dataset") for folder in (beside, beside.parent)]
    return [*found, ("user cache", user_cache() / data_set)]


def user_cache() -> Path:
    """fastnn's folder below the user's cache folder (platformdirs if installed, else the XDG rule)."""
    if importlib.util.find_spec("platformdirs"):
        import platformdirs

        return Path(platformdirs.user_cache_dir("fastnn", appauthor=False))
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "fastnn"


def offline() -> bool:
    """Is the network forbidden (FASTNN_OFFLINE set to anything but 0 or nothing)?"""
    return os.environ.get("FASTNN_OFFLINE", "0") not in ("", "0")


def find(file: DataFile, folders: Iterable[tuple[str, Path]]) -> Path | None:
    """The first copy of `file`, plain or .gz, in `folders`; not yet verified."""
    for _, folder in folders:
        for path in (folder / file.name, folder / f"{file.name}.gz"):
            if path.is_file():
                return path
    return None


def read(path: Path, file: DataFile) -> bytes:
    """Verified uncompressed contents of `path`, plain or gzip. ValueError, naming `path`, for anything else."""
    limit = file.size + (1 << 20)  # gzip never adds as much: what is larger is something else
    if path.stat().st_size > limit:
        raise ValueError(f"{path}: has {path.stat().st_size} bytes, {file.name} has {file.size} even uncompressed")
    content = _uncompressed(path.read_bytes(), file, path)
    file.check(content, path)
    return content


def _uncompressed(content: bytes, file: DataFile, source: object) -> bytes:
    """`content`, decompressed if it is gzip: at most one byte more than the file has, so that no bomb goes off."""
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            plain = stream.read(file.size)
            if stream.read(1):  # also reads, and so checks, the CRC at the end
                raise ValueError(f"{source}: has more than {file.size} bytes uncompressed, which {file.name} has")
            return plain
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{source}: is damaged or truncated ({error})") from error


def locate(data_set: str, files: Collection[DataFile], mirrors: Collection[str], data_dir=None) -> list[Path]:
    """Paths of all `files`, fetched into the user cache where no copy is found.

    Raises
    ------
    FileNotFoundError: some are nowhere and cannot be fetched; the message has names, hashes, and places looked at.
    """
    folders = places(data_set, data_dir)
    paths: list[Path] = []
    missing: list[DataFile] = []
    failures: list[str] = []
    for file in files:
        path = find(file, folders)
        if path is None:
            path = _fetch(file, mirrors, folders[-1][1], failures)
        if path is None:
            missing.append(file)
        else:
            paths.append(path)
    if missing:
        raise FileNotFoundError(_not_found(data_set, missing, folders, failures))
    return paths


def _fetch(file: DataFile, mirrors: Collection[str], folder: Path, failures: list[str]) -> Path | None:
    """Fetch `file` into `folder` from the first mirror that has it; None, and a line in `failures`, if none has.

    A file that has arrived stays, so an interrupted download goes on with the file at which it stopped.
    """
    if offline() or failures:
        return None
    if not importlib.util.find_spec("pooch"):
        failures.append("to download it, first: pip install 'fastnn-kernels[data]'")
        return None
    for mirror in mirrors:
        url = f"{mirror}{file.name}{file.packed}"
        try:
            content = _download(url, limit=file.size)
            file.check(_uncompressed(content, file, url), url)
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {type(error).__name__}: {error}")
            continue
        failures.clear()
        path = folder / f"{file.name}{file.packed}"
        write_atomically(path, content)
        return path
    return None


class _Bounded(io.BytesIO):
    """A file in memory that refuses to grow beyond `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def write(self, chunk) -> int:
        if self.tell() + len(chunk) > self.limit:
            raise ValueError(f"sends more than {self.limit} bytes")
        return super().write(chunk)


def _download(url: str, limit: int) -> bytes:
    """Contents of `url`, at most `limit` bytes; a progress bar on stderr if tqdm is installed."""
    import pooch

    print(f"fastnn: fetching {url}", file=sys.stderr)
    progress = importlib.util.find_spec("tqdm") is not None
    target = _Bounded(limit)
    pooch.HTTPDownloader(progressbar=progress, timeout=_TIMEOUT)(url, target, None)
    return target.getvalue()


def _not_found(data_set: str, missing: list[DataFile], folders: list[tuple[str, Path]], failures: list[str]) -> str:
    lines = [f"{data_set}: these files were not found (plain or .gz; hashes of the uncompressed contents):"]
    lines += [f"  {file.name}  md5 {file.md5}  sha256 {file.sha256}" for file in missing]
    lines += ["looked at:", *(f"  {folder} ({reason})" for reason, folder in folders)]
    if offline():
        lines.append("FASTNN_OFFLINE is set: nothing was fetched from the network; unset it to download them.")
    lines += failures
    lines.append(f"Or put the files into {folders[-1][1]}, or into a folder named by data_dir or FASTNN_DATA.")
    return "\n".join(lines)
