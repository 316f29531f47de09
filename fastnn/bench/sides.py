"""The two sides of a comparison: git refs, versions, wheels, folders or backends, each in an environment of its own."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

from ..dataset._search import user_cache
from . import BenchError

BACKENDS = ("native", "numba", "numpy")
KEPT_BUILDS = 30
_IGNORED = (".git", ".venv", "venv", "build", "dist", ".benchmarks", "__pycache__", "*.egg-info", "node_modules")
_BUILD_SETTINGS = re.compile(r"CC|CXX|\w*FLAGS|CMAKE_\w+|SKBUILD_\w+|FASTNN_(PURE|REQUIRE_NATIVE)")


@dataclass
class Side:
    """How to run one side. `checkout` is its own source tree, if it has one; `provides` its top-level modules."""

    name: str
    python: str = sys.executable
    own: bool = False  # an environment of its own, not that of this process
    backend: str | None = None
    commit: str = ""
    checkout: Path | None = None
    provides: tuple[str, ...] = ()
    hint: str = ""  # what to say when a module is not found

    def describe(self) -> dict:
        return {"name": self.name, "backend": self.backend, "commit": self.commit}


@contextlib.contextmanager
def workspace():
    """A temporary folder for environments and trees; removed however the work ends."""
    folder = Path(tempfile.mkdtemp(prefix="fastnn-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(text: str, project: Path, folder: Path, files: bool = False) -> Side:
    """Make the side that `text` names, below `folder`; with `files`, its source tree too, for the benchmark files.

    Raises BenchError if it is nothing that is known, or cannot be built or installed.
    """
    folder.mkdir(parents=True)
    if text in BACKENDS:
        return Side(text, backend=text)
    if text in ("installed", _installed_version(project)):
        return Side(text)
    path = Path(text)
    if path.suffix == ".whl" and path.is_file():
        return _in_environment(Side(text), folder, wheel=str(path))
    plainly_a_folder = path.is_dir() and (path.is_absolute() or text.startswith("."))
    commit = None if plainly_a_folder else _commit(text, project)
    if commit:
        return _from_commit(Side(text, commit=commit), project, folder, files)
    if path.is_dir():
        return _from_folder(Side(text), path.resolve(), folder)
    if re.fullmatch(r"\d+(\.\w+)+", text):
        return _in_environment(Side(text), folder, wheel=f"{_project_name(project)}=={text}")
    raise BenchError(
        f"{text!r} is not a git ref of {project}, a version, a wheel, a folder, installed, {', '.join(BACKENDS)}"
    )


def benchmark_files(a: Side, b: Side, project: Path, folder: Path) -> Path:
    """A copy of B's tree (or the project's, if B has none) without the packages that are compared: both sides import
    what is installed."""
    tree = folder / "files"
    _copy(b.checkout or project, tree)
    for name in {*a.provides, *b.provides}:
        for found in (tree / name, tree / "src" / name, tree / f"{name}.py", tree / "src" / f"{name}.py"):
            if found.is_dir():
                shutil.rmtree(found)
            elif found.is_file():
                found.unlink()
    return tree


def _from_commit(side: Side, project: Path, folder: Path, files: bool) -> Side:
    wheel = _cached_wheel(side.commit, project)
    if files or wheel is None:
        _git(project, "clone", "--quiet", "--shared", "--no-checkout", _root(project), str(folder / "clone"))
        _git(folder / "clone", "checkout", "--quiet", "--detach", side.commit)
        source = side.checkout = folder / "clone" / project.resolve().relative_to(Path(_root(project)).resolve())
        if not _installable(source):
            return _in_environment(side, folder, path=source)
        wheel = wheel or _keep(_build(side, source, folder / "wheel"), side.commit, project)
    return _in_environment(side, folder, wheel=str(wheel))


def _from_folder(side: Side, source: Path, folder: Path) -> Side:
    if not _installable(source):
        return _in_environment(side, folder, path=source)
    side.checkout = source
    return _in_environment(side, folder, wheel=str(_build(side, source, folder / "wheel")))


def _in_environment(side: Side, folder: Path, wheel: str = "", path: Path = Path()) -> Side:
    """A venv with the wheel, or with `path` on its module path; all else is what this process has installed."""
    where = folder / "environment"
    venv.EnvBuilder(symlinks=os.name != "nt").create(where)
    places = {"base": str(where), "platbase": str(where)}
    packages = Path(sysconfig.get_path("purelib", "venv", places))
    lines = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    if wheel:
        _pip(f"{side.name} cannot be installed", "install", "--no-deps", "--target", str(packages), wheel)
        side.provides = _modules(packages)
    else:
        places_of_packages = [place for place in (path, path / "src") if place.is_dir()]
        lines[:0] = map(str, places_of_packages)
        found = [name for place in places_of_packages for name in _modules(place)]
        side.provides = tuple(name for name in found if not re.match("(test|bench|conftest|setup)|src$", name))
        side.hint = f"{path} has neither pyproject.toml nor setup.py, so only its root and src/ were put on the path"
    pth = packages / "fastnn_bench.pth"  # plain paths: no hooks of editable installs
    pth.write_text("\n".join(lines) + "\n", encoding="locale")  # as Python's site reads it
    side.python = str(where / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    side.own = True
    return side


def _modules(folder: Path) -> tuple[str, ...]:
    """Names that can be imported from a folder."""
    packages = [p.name for p in folder.iterdir() if p.is_dir() and p.name.isidentifier() and p.name != "__pycache__"]
    return tuple(sorted([*packages, *(p.name.split(".")[0] for p in folder.iterdir() if p.suffix in (".py", ".so"))]))


def _build(side: Side, source: Path, target: Path) -> Path:
    """The wheel of a source tree; without a build environment if all that it asks for is installed here."""
    isolation = ["--no-build-isolation"] if _needs_are_here(source) else []
    what = f"{side.name}{f' ({side.commit[:10]})' if side.commit else ''} does not build"
    _pip(what, "wheel", "--no-deps", *isolation, "-w", str(target), str(source))
    return next(target.glob("*.whl"))


def _needs_are_here(source: Path) -> bool:
    from packaging.requirements import Requirement

    build = _pyproject(source).get("build-system", {"requires": ["setuptools"]})

    def here(need):
        return need.specifier.contains(importlib.metadata.version(need.name), True)

    try:
        needs = [Requirement(text) for text in build.get("requires", [])]
        if any(need.name == "setuptools" for need in needs) and not here(Requirement("setuptools>=70.1")):
            needs.append(Requirement("wheel"))  # older ones have no bdist_wheel of their own
        return all(map(here, needs))
    except importlib.metadata.PackageNotFoundError:
        return False


def _cache(commit: str, project: Path) -> Path:
    """Where the build of a commit is kept: by interpreter, settings of the compiler and place in the repository."""
    settings = {name: value for name, value in os.environ.items() if _BUILD_SETTINGS.fullmatch(name)}
    place = os.path.relpath(project.resolve(), Path(_root(project)).resolve())
    key = json.dumps([place, sys.implementation.cache_tag, sysconfig.get_platform(), settings], sort_keys=True)
    return user_cache() / "bench" / f"{commit}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def _cached_wheel(commit: str, project: Path) -> Path | None:
    return next(_cache(commit, project).glob("*.whl"), None)


def _keep(wheel: Path, commit: str, project: Path) -> Path:
    """The wheel in the cache, whole or not at all; the oldest of many builds are dropped."""
    kept = _cache(commit, project)
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copy(wheel, kept / "part")
    (kept / "part").replace(kept / wheel.name)
    for old in sorted(kept.parent.iterdir(), key=lambda p: p.stat().st_mtime)[:-KEPT_BUILDS]:
        shutil.rmtree(old, ignore_errors=True)
    return kept / wheel.name


def _pip(what: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    if done.returncode:
        log = user_cache() / "bench" / "failed.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout, encoding="utf-8")
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["pip says nothing"]
        telling = [line for line in lines if re.search("[eE]rror:", line) and "subprocess-exited" not in line]
        raise BenchError(f"{what}: {(telling or lines)[0][:300]} (all of it: {log})")


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, encoding="utf-8", errors="replace"
        )
    except FileNotFoundError:
        raise BenchError("git is not installed") from None
    if done.returncode:
        raise BenchError(f"git {arguments[0]} in {folder}: {done.stderr.strip() or 'failed'}")
    return done.stdout.strip()


def _commit(text: str, project: Path) -> str | None:
    """The full hash, None for what is not a ref here."""
    with contextlib.suppress(BenchError):
        return _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    return None


def _root(project: Path) -> str:
    return _git(project, "rev-parse", "--show-toplevel")


def _pyproject(folder: Path) -> dict:
    path = folder / "pyproject.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _installable(folder: Path) -> bool:
    return bool({"project", "build-system"} & _pyproject(folder).keys()) or (folder / "setup.py").is_file()


def _project_name(project: Path) -> str:
    name = _pyproject(project).get("project", {}).get("name")
    if name is None:
        raise BenchError(f"a version needs a name: {project / 'pyproject.toml'} has no [project] name")
    return name


def _installed_version(project: Path) -> str | None:
    name = _pyproject(project).get("project", {}).get("name")
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name) if name else None
    return None


def _copy(source: Path, target: Path) -> None:
    """A source tree without what git ignores, or, outside of git, without the usual build and cache folders."""
    listed = ""
    with contextlib.suppress(BenchError):
        listed = _git(source, "ls-files", "-z", "--cached", "--others", "--exclude-standard", ".")
    if not listed:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_IGNORED))
        return
    for name in listed.split("\0"):
        if name and (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)
