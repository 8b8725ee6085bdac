"""Readers can do everything that README and the documentation show."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from snippets import Session, SnippetError, snippets_of

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+?)(?: \{#([\w-]+)\})?$", re.MULTILINE)


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*TEXTS, *PAGES], ids=name_of)
def test_every_snippet_of_the_page_works(path, tmp_path):
    """Read from top to bottom, every block runs and prints what the page shows."""
    directory = tmp_path / "project"
    directory.mkdir()
    session = Session(directory)
    try:
        for snippet in snippets_of(path, name_of(path)):
            if snippet.not_run is None:
                session.run(snippet)
    finally:
        session.close()


@pytest.mark.parametrize("path", [*TEXTS, *PAGES], ids=name_of)
def test_every_link_of_the_page_leads_somewhere(path):
    """Links to other pages name files and headings that exist."""
    for target in LINK.findall(without_code(path.read_text("utf-8"))):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, anchor = unquote(target).partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(page), f"{target}: no such heading"


def test_the_navigation_names_every_page_once():
    """No page is out of reach, and no entry is dead."""
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = list(entries(navigation))
    assert sorted(named) == [str(path.relative_to(ROOT / "docs")) for path in PAGES]


def without_code(text):
    return re.sub(r"^ *(```+)[^\n]*\n.*?^ *\1 *$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """The anchors of a page's headings, as the site and code hosts make them."""
    found = set()
    for heading, named in HEADING.findall(without_code(path.read_text("utf-8"))):
        text = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(named or text.strip().replace(" ", "-"))
    return found


def entries(navigation):
    if isinstance(navigation, str):
        yield navigation
    elif isinstance(navigation, dict):
        for value in navigation.values():
            yield from entries(value)
    else:
        for entry in navigation:
            yield from entries(entry)


def page(tmp_path, text):
    path = tmp_path / "page.md"
    path.write_text(text)
    return path


def run(tmp_path, text):
    directory = tmp_path / "project"
    directory.mkdir()
    session = Session(directory)
    try:
        for snippet in snippets_of(page(tmp_path, text), "page.md"):
            if snippet.not_run is None:
                session.run(snippet)
    finally:
        session.close()


WORKING = """
```python title="greeting.py"
def hello(name): return f"hello {name}"
```
<!--
```python
import asyncio
```
-->
```python
from greeting import hello
await asyncio.sleep(0)
```
```pycon
>>> hello("you")
'hello you'
>>> hello()
Traceback (most recent call last):
    ...
TypeError: hello() missing 1 required positional argument: 'name'
```
```console
$ export WHO=me
$ python -c 'import greeting, os; print(greeting.hello(os.environ["WHO"]))'
hello ...
$ false  # exit code 1
```
<!-- not run: there is no such program -->
```console
$ no-such-program
```
"""


def test_blocks_of_a_page_share_files_names_and_environment(tmp_path):
    """A page that is right passes."""
    run(tmp_path, WORKING)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("```python\n1 / 0\n```", r"(?s)page\.md:2: .*ZeroDivisionError"),
        ("```pycon\n>>> 1 + 1\n3\n```", r"(?s)printed:\n2\n.*instead of:\n3"),
        ("```python\nimport warnings\nwarnings.warn('old')\n```", r"(?s)UserWarning: old"),
        ("```console\n$ echo a\nb\n```", r"(?s)printed:\na\n.*instead of:\nb"),
        ("```console\n$ false\n```", r"`false` ended with 1"),
        ("```console\n$ pip install umbel[nonsense]\n```", r"no such extra: nonsense"),
        ("```cobol\nSTOP RUN.\n```", r"how to run a block of 'cobol'"),
        ("```python\nx = 1\n", r"this code block never ends"),
    ],
)
def test_a_block_that_does_not_work_is_found(tmp_path, block, reason):
    """A page that is wrong fails, and says where and why."""
    with pytest.raises(SnippetError, match=reason):
        run(tmp_path, block)
