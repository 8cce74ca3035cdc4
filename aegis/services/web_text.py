"""A web page as text for a model: what a reader would see, links with where they lead, and nothing that runs."""

from __future__ import annotations

import re
from email.message import Message
from html.parser import HTMLParser

_SILENT = frozenset({"script", "style", "noscript", "template", "svg"})
_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset", "figure", "footer"),
        *("form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section"),
        *("table", "title", "tr", "ul"),
    }
)
_TEXTS = ("text/", "application/json", "application/xml", "application/javascript", "application/x-yaml")
_TEXT_SUFFIXES = ("+json", "+xml")


def is_text(content_type: str) -> bool:
    kind = media_type(content_type)
    return kind.startswith(_TEXTS) or kind.endswith(_TEXT_SUFFIXES)


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower() or "application/octet-stream"


def decoded(body: bytes, content_type: str) -> str:
    """By the declared character set where Python knows it, else UTF-8; what does not fit is replaced."""
    message = Message()
    message["Content-Type"] = content_type or "text/plain"
    charset = message.get_param("charset")
    try:
        return body.decode(charset if isinstance(charset, str) else "utf-8", "replace")
    except (LookupError, ValueError):  # of names that are none, a NUL among them
        return body.decode("utf-8", "replace")


def text_of_html(html: str) -> str:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = [re.sub(r"[ \t\r\f\v]+", " ", line).strip() for line in "".join(reader.parts).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0
        self._links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag == "a":
            self._links.append(dict(attributes).get("href") or "")
        if tag in _BLOCKS:
            self.parts.append("\n- " if tag == "li" else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "a" and self._links:
            href = self._links.pop()
            if href and not href.startswith(("#", "javascript:")) and not self._silent:
                self.parts.append(f" ({href})")
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data.replace("\n", " "))
