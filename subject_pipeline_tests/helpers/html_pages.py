"""HTML pages read without a browser: a tree, its text, and what a small part of CSS makes of colours."""

import re
from collections.abc import Iterator  # noqa: TC003 - annotations may be asked for at run time
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "img", "hr", "input", "path", "use", "rect"}
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")


@dataclass(eq=False)
class Element:
    """One element, with its text parts and children in order."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    children: "list[Element | str]" = field(default_factory=list)

    def all(self, *tags: str) -> "Iterator[Element]":
        """Every element below, in the document's order; of these tags, or of any."""
        for child in self.children:
            if isinstance(child, Element):
                if not tags or child.tag in tags:
                    yield child
                yield from child.all(*tags)

    @property
    def text(self) -> str:
        """All text below."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def own_text(self) -> str:
        """The text that stands in it directly."""
        return "".join(child for child in self.children if isinstance(child, str)).strip()

    @property
    def ancestors(self) -> "Iterator[Element]":
        """The element, then what it is in, up to the root."""
        at: Element | None = self
        while at is not None:
            yield at
            at = at.parent

    def inside(self, tag: str) -> bool:
        """Whether it is such an element or in one."""
        return any(one.tag == tag for one in self.ancestors)


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(found)
        if tag not in _VOID:
            self.at = found

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at.children.append(Element(tag, {name: value or "" for name, value in attrs}, self.at))

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        assert self.at.tag == tag, f"</{tag}> ends <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.children.append(data)


def parse(html: str) -> Element:
    """The root of a page; every element must be ended by its own tag."""
    tree = _Tree()
    tree.feed(html)
    tree.close()
    assert tree.at is tree.root, f"<{tree.at.tag}> is never ended"
    return tree.root


class Style:
    """The rules of a style sheet that set `color` or `background`, for one medium."""

    def __init__(self, css: str, medium: str) -> None:
        self._rules: list[tuple[tuple[int, int, int], list[str], dict[str, str]]] = []
        parts = re.split(r"(@media[^{]+\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}|@page\s*\{(?:[^{}]|\{[^{}]*\})*\})", css)
        for part in parts:
            if part.startswith("@page") or (part.startswith("@media") and f"@media {medium}" not in part):
                continue
            body = part.partition("{")[2] if part.startswith("@media") else part
            for selectors, declarations in _RULE.findall(body):
                self._add(selectors, declarations)

    def _add(self, selectors: str, declarations: str) -> None:
        found = dict(re.findall(r"(?<![-\w])(color|background)\s*:\s*(#[0-9a-f]{6})", declarations))
        wrong = re.findall(r"(?<![-\w])(?:color|background)\s*:\s*+(?!#[0-9a-f]{6}\b)[^;]+", declarations)
        assert not wrong, f"a colour that is not of the form #rrggbb: {wrong}"
        for selector in selectors.split(",") if found else ():
            steps = selector.split()
            assert not set(steps) & {">", "+", "~"}, f"a colour by a selector that is not read here: {selector}"
            assert ":" not in selector, selector
            classes = sum(step.count(".") for step in steps)
            tags = sum(step[0] not in ".*" for step in steps)
            self._rules.append(((classes, tags, len(self._rules)), steps, found))

    def _own(self, element: Element, name: str) -> str | None:
        matching = [(rank, found[name]) for rank, steps, found in self._rules if name in found and _is(element, steps)]
        return max(matching)[1] if matching else None

    def color(self, element: Element) -> str:
        """The colour of an element's text."""
        return next(filter(None, (self._own(one, "color") for one in element.ancestors)), "#000000")

    def background(self, element: Element) -> str:
        """What is behind an element's text."""
        return next(filter(None, (self._own(one, "background") for one in element.ancestors)), "#ffffff")


def _is(element: Element, steps: list[str]) -> bool:
    *before, last = steps
    tag, *classes = last.split(".")
    if tag not in {"", "*", element.tag} or not set(classes) <= set(element.attributes.get("class", "").split()):
        return False
    return not before or any(_is(above, before) for above in list(element.ancestors)[1:])


def contrast(one: str, other: str) -> float:
    """The contrast of two colours `#rrggbb`, from 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
