"""A list of results that a notebook shows one below the other."""

from __future__ import annotations

from typing import TypeVar

_Result = TypeVar("_Result")


class ResultList(list[_Result]):
    """A list; in a notebook each result shows its own picture or table."""

    def _repr_html_(self) -> str:
        return "".join(f"<div>{_html_of(result)}</div>" for result in self)


def _html_of(result: object) -> str:
    from html import escape

    show = getattr(result, "_repr_html_", None)
    return str(show()) if callable(show) else f"<pre>{escape(repr(result))}</pre>"
