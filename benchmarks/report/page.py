"""The generated parts of docs/benchmarks.md and of the README."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.report.cells import GIBIBYTE, NOTHING, wrap, write_table
from benchmarks.report.headlines import write_headlines, write_overhead
from benchmarks.report.measurement import TOOLS, Measurement, Results, tool_rank
from benchmarks.report.remarks import Remark
from benchmarks.report.sections import GROUPS, machine_key, order_groups, write_section
from benchmarks.report.verdicts import count_goals, write_goals, write_losses, write_roofline


def write_page(results: Results, remarks: tuple[Remark, ...], pictures: Mapping[str, str]) -> str:
    """The generated part of docs/benchmarks.md; `pictures`: Markdown of each drawn picture, by its name."""
    machines = number_machines(results)
    parts = [
        "## Machine and versions\n",
        write_machines(results, machines),
        write_versions(results),
        write_absent(results),
        "## Goals\n",
        write_goals(results, remarks),
        "## Where another tool is ahead\n",
        write_losses(results, remarks),
        "## All cases\n",
        pictures.get("overview", ""),
    ]
    for group in order_groups(results):
        parts += [write_section(results, group, machines), pictures.get(group, "")]
    if roofline := write_roofline(results):
        parts += ["## The floor\n", pictures.get("roofline", ""), roofline]
    return "\n".join(part for part in parts if part)


def write_readme_block(results: Results, picture: str) -> str:
    """The README's part: one table, one picture, and the conditions."""
    met, measured, count = count_goals(results)
    unmeasured = f", {count - measured} could not be measured" if measured < count else ""
    where = "; ".join(
        f"{describe_machine(those[0])}, {write_threads(those)} threads, {write_dates(those)}"
        for those in by_machine(results).values()
    )
    return "\n".join(
        part
        for part in (
            write_headlines(results),
            picture,
            wrap(
                f"Medians; {where}. {met} of {count} [goals](docs/benchmarks.md#goals) are met{unmeasured}. "
                "[Where another tool is ahead](docs/benchmarks.md#where-another-tool-is-ahead), the page gives the "
                "reason. A dash: the tool does not do it, or was not measured. `make bench-peers` measures everything "
                "again."
            ),
            write_overhead(results),
        )
        if part
    )


def by_machine(results: Results) -> dict[str, list[Measurement]]:
    found: dict[str, list[Measurement]] = {}
    for entry in results.measurements:
        found.setdefault(machine_key(entry), []).append(entry)
    return found


def number_machines(results: Results) -> dict[str, int]:
    return {key: number for number, key in enumerate(by_machine(results), 1)}


def describe_machine(entry: Measurement) -> str:
    machine = entry.machine
    parts = [
        machine["cpu"],
        f"{machine['cores']} cores",
        f"{machine['memory_bytes'] / GIBIBYTE:.1f} GiB",
        machine.get("gpu"),
    ]
    return ", ".join(part for part in parts if part)


def write_threads(entries: list[Measurement]) -> str:
    return ", ".join(str(count) for count in sorted({entry.threads for entry in entries if entry.threads is not None}))


def write_dates(entries: list[Measurement]) -> str:
    days = sorted({entry.date[:10] for entry in entries})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def write_machines(results: Results, machines: Mapping[str, int]) -> str:
    rows = []
    for key, entries in by_machine(results).items():
        commits = ", ".join(dict.fromkeys(entry.commit for entry in entries if entry.commit)) or NOTHING
        system = f"{entries[0].machine['os']}, Python {entries[0].machine['python']}"
        rows.append(
            [
                str(machines[key]) if len(machines) > 1 else "",
                describe_machine(entries[0]),
                system,
                write_threads(entries),
                write_dates(entries),
                commits,
            ]
        )
    return write_table(["", "machine", "system", "threads", "date", "commit"], rows)


def write_versions(results: Results) -> str:
    versions: dict[str, dict[str, str]] = {}
    for entry in sorted(results.measurements, key=tool_rank):
        versions.setdefault(entry.base_tool, {}).update(entry.versions)
    rows = [
        [tool, ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))]
        for tool, packages in versions.items()
        if packages
    ]
    return write_table(["tool", "versions"], rows)


def write_absent(results: Results) -> str:
    """Notes on tools and groups that were not measured, and on a quick run, so that nobody misreads the tables."""
    present = {entry.base_tool for entry in results.measurements}
    tools = [tool for tool in TOOLS if tool not in present]
    groups = [about.title for name, about in GROUPS.items() if name not in results.groups()]
    parts = [
        "**From a quick run, made to see whether everything works: its figures mean nothing.**"
        if is_quick(results)
        else "",
        f"Tools not asked in this run: {', '.join(tools)} (`make bench-peers` asks all)." if tools else "",
        f"Not measured in this run: {', '.join(groups)}." if groups else "",
    ]
    return "\n".join(wrap(part) for part in parts if part)


def is_quick(results: Results) -> bool:
    """Whether any measurement is from a quick run."""
    return any(entry.run.endswith("-quick") for entry in results.measurements)
