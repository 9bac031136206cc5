"""Every link within the repository leads somewhere, and every page is reached from the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import FENCE, ROOT, pages

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
LONGEST = 40  # lines of a decision


def links(page: Path) -> list[str]:
    """Links of a page that lead into the repository; what is in code blocks is no link."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [target for target in LINK.findall(text) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """The anchors of headings, as they are made where the repository is read."""
    lines = FENCE.sub("", page.read_text(encoding="utf-8")).splitlines()
    heads = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in heads}


def resolve(page: Path, target: str) -> tuple[Path, str]:
    path, _, anchor = target.partition("#")
    return ((page.parent / path).resolve() if path else page), anchor


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, anchor = resolve(page, target)
        assert path.exists(), f"{target}: no such file"
        assert path.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(path), f"{target}: that page has {sorted(anchors(path))}"


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen and page.suffix == ".md" and page.exists():
            seen.add(page)
            waiting += [resolve(page, target)[0] for target in links(page)]
    assert set(pages()) <= seen, sorted(set(pages()) - seen)


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.stem)
def test_decisions_are_short_and_numbered(page: Path) -> None:
    text = page.read_text()
    assert len(text.splitlines()) <= LONGEST
    assert re.match(rf"# {page.name[:4]} \S", text)


def test_text_of_the_picture_can_be_read_by_programs() -> None:
    text = (ROOT / "docs" / "images" / "facility.svg").read_text()
    assert "<title" in text
    assert "<desc" in text
    assert "prefers-color-scheme: dark" in text
