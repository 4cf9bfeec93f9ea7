"""Plug-ins: rows that installed packages add to a table through entry points.

The package's own rows never depend on plug-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from onnxplain.errors import OnnxplainError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

TableRow = TypeVar("TableRow")


@dataclass(frozen=True)
class BrokenPlugin:
    """A plug-in that cannot be used. As text: one line with the reason and what to do."""

    group: str
    name: str
    package: str
    problem: str

    def __str__(self) -> str:
        problem = " ".join(self.problem.split())
        return f"{self.name}: {problem} (plug-in of {self.package}, {self.group}): update or uninstall {self.package}"


class PluginTable(Mapping[str, TableRow], Generic[TableRow]):
    """Rows by name: first the package's own rows, then the plug-ins of one entry point group.

    Plug-ins are looked up once per process, when something other than an own row is first needed. A broken plug-in is
    not a row: `broken` lists all of them, and `check` raises the error of one by its name.
    """

    def __init__(self, group: str, own: Mapping[str, TableRow], read: Callable[[EntryPoint], TableRow]) -> None:
        """`read` turns an entry point into a row. If it raises an error, the plug-in counts as broken."""
        self.group = group
        self.own = own
        self._read = read

    def __getitem__(self, name: str) -> TableRow:
        return self.own[name] if name in self.own else self.plugins[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self.plugins

    def __len__(self) -> int:
        return len(self.own) + len(self.plugins)

    @property
    def plugins(self) -> Mapping[str, TableRow]:
        """The rows that installed packages add."""
        return self._found[0]

    @property
    def broken(self) -> tuple[BrokenPlugin, ...]:
        """The plug-ins that cannot be used, and why."""
        return self._found[1]

    def check(self, name: str) -> None:
        """Raise OnnxplainError, with the text of its `BrokenPlugin`, if `name` is a broken plug-in."""
        for plugin in () if name in self else self.broken:
            if plugin.name == name:
                raise OnnxplainError(str(plugin))

    @cached_property
    def _found(self) -> tuple[dict[str, TableRow], tuple[BrokenPlugin, ...]]:
        rows: dict[str, TableRow] = {}
        broken = []
        for package, entries in _announced(self.group):
            if entries is None:
                problem = "found an unreadable entry_points.txt, expected lines of the form name = module:name"
                broken.append(BrokenPlugin(self.group, package, package, problem))
            for entry in entries or ():
                try:
                    if entry.name in self.own or entry.name in rows:
                        raise OnnxplainError("found a name that is already taken, expected a unique name")
                    rows[entry.name] = self._read(entry)
                except (Exception, SystemExit) as error:  # foreign code may raise anything on import
                    problem = str(error) if isinstance(error, OnnxplainError) else f"{type(error).__name__} ({error})"
                    broken.append(BrokenPlugin(self.group, entry.name, package, problem))
        return rows, tuple(broken)


def load(entry: EntryPoint) -> Any:
    """The object that an entry point names. Raises OnnxplainError unless it has the form module:name."""
    if ":" not in entry.value:
        raise OnnxplainError(f"found {entry.value!r}, expected module:name")
    return entry.load()


def _announced(group: str) -> Iterator[tuple[str, Sequence[EntryPoint] | None]]:
    """Each installed package with entry points in the group, once, and these; None if they cannot be read."""
    # Imported here because it takes longer than everything else that the table of methods needs.
    from importlib.metadata import distributions

    seen = set()
    for installed in distributions():
        # The standard library's `entry_points` fails for all packages if it cannot read the file of one.
        if f"[{group}]" not in (installed.read_text("entry_points.txt") or ""):
            continue
        package = str(installed.metadata.json.get("name", "a package without a name"))
        if package in seen:  # Python imports the first one on sys.path
            continue
        seen.add(package)
        try:
            entries = list(installed.entry_points.select(group=group))
        except Exception:
            yield package, None
        else:
            yield package, entries
