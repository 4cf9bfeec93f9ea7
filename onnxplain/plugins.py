"""Rows that installed packages add to a table, by entry points; the package's own rows never depend on them."""

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
    """A row that a package announces and that cannot be used; as text, one line that says why and what to do."""

    group: str
    name: str
    package: str
    problem: str

    def __str__(self) -> str:
        problem = " ".join(self.problem.split())
        return f"{self.name}: {problem} (plug-in of {self.package}, {self.group}): update or uninstall {self.package}"


class PluginTable(Mapping[str, TableRow], Generic[TableRow]):
    """Rows by name: the package's own first, then those of the entry points of one group.

    Plug-ins are looked up the first time that something other than an own row is asked for, and once per process.
    Broken ones are no rows: `broken` lists them, and `check` says what is wrong with one that is asked for by name.
    """

    def __init__(self, group: str, own: Mapping[str, TableRow], read: Callable[[EntryPoint], TableRow]) -> None:
        """`read` makes a row of an entry point; whatever it raises makes the plug-in a broken one."""
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
        """Raise OnnxplainError, with its line, for the name of a plug-in that is broken."""
        for plugin in () if name in self else self.broken:
            if plugin.name == name:
                raise OnnxplainError(str(plugin))

    @cached_property
    def _found(self) -> tuple[dict[str, TableRow], tuple[BrokenPlugin, ...]]:
        rows: dict[str, TableRow] = {}
        broken = []
        for package, entries in _announced(self.group):
            if entries is None:
                problem = "found an entry_points.txt that cannot be read, expected lines of name = module:name"
                broken.append(BrokenPlugin(self.group, package, package, problem))
            for entry in entries or ():
                try:
                    if entry.name in self.own or entry.name in rows:
                        raise OnnxplainError("found a name that is taken, expected another")
                    rows[entry.name] = self._read(entry)
                except (Exception, SystemExit) as error:  # the code of others may raise anything while it is imported
                    problem = str(error) if isinstance(error, OnnxplainError) else f"{type(error).__name__} ({error})"
                    broken.append(BrokenPlugin(self.group, entry.name, package, problem))
        return rows, tuple(broken)


def load(entry: EntryPoint) -> Any:
    """What an entry point names. Raises OnnxplainError where it does not name something in a module."""
    if ":" not in entry.value:
        raise OnnxplainError(f"found {entry.value!r}, expected module:name")
    return entry.load()


def _announced(group: str) -> Iterator[tuple[str, Sequence[EntryPoint] | None]]:
    """Each installed package that names the group, once, and its entry points; None where they cannot be read."""
    # Imported here: it costs more than all else that the table of methods needs.
    from importlib.metadata import distributions

    seen = set()
    for installed in distributions():
        # `entry_points` of the standard library gives up at the first file of any package that it cannot read.
        if f"[{group}]" not in (installed.read_text("entry_points.txt") or ""):
            continue
        package = str(installed.metadata.json.get("name", "a package without a name"))
        if package in seen:  # the first on sys.path is the one that is imported
            continue
        seen.add(package)
        try:
            entries = list(installed.entry_points.select(group=group))
        except Exception:
            yield package, None
        else:
            yield package, entries
