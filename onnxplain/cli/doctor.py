"""`onnxplain doctor`: what this machine offers to onnxplain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.output.describe import print_description
from onnxplain.cli.output.tables import print_json
from onnxplain.errors import OnnxplainError
from onnxplain.extras import EXTRAS, install_command, missing_modules
from onnxplain.machine.installed import find_versions, has_module, read_processor
from onnxplain.machine.providers import PROVIDERS, Provider

if TYPE_CHECKING:
    from onnxplain.explanations.model_cache import CacheEntry, ModelCache

_MB = 10**6


@click.command(short_help="Show versions, providers, the processor, missing extras and the cache.")
@click.option(
    "--empty-cache",
    is_flag=True,
    help="Remove all instrumented copies from the cache folder. Other files in it stay.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def doctor(empty_cache: bool, as_json: bool) -> None:
    """Print what this machine offers: versions, execution providers, the processor, missing extras, the cache folder.

    The cache folder holds the instrumented copies of files that were explained without `instrument`. It is
    $ONNXPLAIN_CACHE, else onnxplain in the user's folder for caches. $ONNXPLAIN_CACHE_GB is its largest size; default
    2 GB. The copies that were not used for the longest time are removed first.
    """
    from onnxplain.explanations.model_cache import ModelCache
    from onnxplain.machine.plug_ins import built_in_providers

    cache = ModelCache.of_user()
    removed = cache.empty() if empty_cache else ()
    versions, processor = find_versions(), read_processor()
    providers = () if missing_modules("cpu") else built_in_providers()
    rows = {} if missing_modules("cpu") else {row.name: _state(row, providers) for row in PROVIDERS.values()}
    missing = {extra: missing_modules(extra) for extra in EXTRAS}
    missing = {extra: modules for extra, modules in missing.items() if modules}
    if as_json:
        print_json(
            {
                "versions": versions,
                "providers": providers,
                "provider_states": rows,
                "processor": processor.as_json(),
                "missing_extras": {
                    extra: {"modules": modules, "install": install_command(extra)} for extra, modules in missing.items()
                },
                "cache": _cache_tree(cache, removed),
            }
        )
        return
    lines = [(name, version or "not installed") for name, version in versions.items()]
    lines.append(("providers", ", ".join(providers) or "none: ONNX Runtime is not installed"))
    lines += [(f"provider {name}", text) for name, text in rows.items()]
    lines.append(("processor", processor.describe()))
    lines += [
        (f"extra {extra}", f"missing ({', '.join(modules)}): {install_command(extra)}")
        for extra, modules in missing.items()
    ]
    entries = cache.entries()
    lines.append(("cache", f"{cache.folder}: {_count(entries)}, of at most {cache.limit / _MB:,.0f} MB"))
    if empty_cache:
        lines.append(("removed", _count(removed)))
    print_description(lines)


def _state(row: Provider, built_in: Sequence[str]) -> str:
    """Whether a provider is here, or what brings it; and where it was tried."""
    from onnxplain.machine.plug_ins import plug_in_devices

    tried = f"tried with {row.tried}" if row.tried else "not tried"
    if row.full_name in built_in:
        return f"here; {tried}"
    if not has_module(row.plug_in):
        return f"not here: {row.install}; {tried}"
    try:
        kinds = plug_in_devices(row)
    except OnnxplainError as error:
        return str(error)
    return f"plug-in, {', '.join(kinds) or 'no device found here'}; {tried}"


def _count(entries: Sequence[CacheEntry]) -> str:
    copies = "1 copy" if len(entries) == 1 else f"{len(entries)} copies"
    return f"{copies}, {sum(entry.size for entry in entries) / _MB:,.1f} MB"


def _cache_tree(cache: ModelCache, removed: Sequence[CacheEntry]) -> dict[str, Any]:
    entries = cache.entries()
    return {
        "folder": str(cache.folder),
        "limit_bytes": cache.limit,
        "bytes": sum(entry.size for entry in entries),
        "entries": [
            {"key": entry.folder.name, "source": entry.source, "bytes": entry.size, "used": entry.used}
            for entry in entries
        ],
        "removed": len(removed),
    }
