"""HTML reduced to the text that a reader would see, in time linear in its length.

This is no parser of HTML: it drops tags, comments, scripts and styles, breaks lines at block elements and decodes
character references. The standard library's parser takes quadratic time on unclosed comments and raises on some input;
here every search that fails is the last of its kind.
"""

from __future__ import annotations

import html
import re
from typing import Final

_SILENT: Final = frozenset({"script", "style", "noscript", "template", "svg", "iframe", "object", "textarea", "select"})
"""Elements whose content is not shown."""
_BLOCKS: Final = frozenset({
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption",
    "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "li", "main", "nav",
    "ol", "option", "p", "pre", "section", "table", "tbody", "td", "tfoot", "th", "thead", "title", "tr", "ul",
})  # fmt: skip
"""Elements that begin a new line."""
_TAG_NAME = re.compile(r"/?([a-zA-Z][a-zA-Z0-9]*)")


def html_to_text(source: str) -> str:
    """Give the text of an HTML page, one line per block, no blank lines.

    Args:
        source: The page; it may be broken or cut anywhere.
    """
    pieces: list[str] = []
    position = 0
    while (start := source.find("<", position)) >= 0:
        pieces.append(html.unescape(source[position:start]))
        position = _after_markup(source, start, pieces)
    pieces.append(html.unescape(source[position:]))
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return "\n".join(line for line in lines if line)


def _after_markup(source: str, start: int, pieces: list[str]) -> int:
    """Step over what begins with ``<`` at `start`, and put a line break or the sign itself in its place."""
    if source.startswith("<!--", start):
        return _after(source, "-->", start + 4)
    if source.startswith(("<!", "<?"), start):
        return _after(source, ">", start)
    match = _TAG_NAME.match(source, start + 1)
    if match is None:
        pieces.append("<")
        return start + 1
    name = match[1].lower()
    if name in _BLOCKS:
        pieces.append("\n")
    end = _after(source, ">", start)
    if name in _SILENT and source[start + 1] != "/" and source[end - 2] != "/":
        return _after_element(source, name, end)
    return end


def _after_element(source: str, name: str, start: int) -> int:
    """Step over the content of a silent element and its end tag; unclosed, it goes to the end."""
    match = re.compile(rf"</{name}\b", re.IGNORECASE | re.ASCII).search(source, start)
    return len(source) if match is None else _after(source, ">", match.end())


def _after(source: str, mark: str, start: int) -> int:
    """Position behind the next `mark`, or the end of the page: nothing is searched a second time."""
    found = source.find(mark, start)
    return len(source) if found < 0 else found + len(mark)
