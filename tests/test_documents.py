"""README.md and docs/: every block of code runs and prints what is said, every link leads somewhere.

Blocks that need a framework run in `make test-frameworks`, which sets NEED_ALL.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from run_page import blocks

ROOT = Path(__file__).parent.parent
RUN_PAGE = Path(__file__).parent / "run_page.py"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_CODE = [page for page in PAGES if "```" in page.read_text(encoding="utf-8")]
#: Pages of which links are followed, too.
OTHERS = [*ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "src" / "fastinit").rglob("*.md")]


def name_of(page):
    return str(page.relative_to(ROOT))


def run(page, folder, **more):
    """Run a page in a folder that has the examples."""
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "tools").symlink_to(ROOT / "tools")
    environment = {**os.environ, **more, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    warnings = [] if environment.get("NEED_ALL") else ["-W", "error"]  # frameworks warn of this and that
    command = [sys.executable, *warnings, RUN_PAGE, page]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_every_block_runs(page, tmp_path):
    done = run(page, tmp_path)
    print(done.stdout)
    assert done.returncode == 0, done.stderr


BAD = {
    "an error": ("```python\nx = 1\nassert x == 2\n```", "page.md:6"),
    "an error of the shell": ("```bash\nfalse\necho\n```", "page.md:6"),
    "a warning": ("```python\nimport warnings\nwarnings.warn('w')\n```", "page.md:6"),
    "another output": ("```python\nprint(1)\n```\n\n<!-- prints -->\n```text\n2\n```", "page.md:11"),
    "another output of the shell": ("```bash\necho 1\n```\n\n<!-- prints -->\n```text\n2\n```", "page.md:11"),
    "no language": ("```\nx = 1\n```", "line 5: a block of nothing"),
    "an unknown language": ("```pyhton\nx = 1\n```", "line 5: a block of pyhton"),
    "text that nothing prints": ("```text\nx\n```", "line 5: a block of text"),
    "a misspelt marker": ("<!-- notrun: why -->\n```python\n1\n```", "line 6: '<!-- notrun"),
    "no reason": ("<!-- not run -->\n```python\n1\n```", "line 6: '<!-- not run -->' says too little"),
    "a list": ("- one\n\n  ```python\n  1 / 0\n  ```", "page.md:8"),
    "a file that is not used": (
        "<!-- file: a.py -->\n```python\n1 / 0\n```\n\n```bash\npython a.py\n```",
        "page.md:11",
    ),
    "a library that is needed": ("<!-- needs: numpy -->\n```python\n1 / 0\n```", "page.md:7"),
}


@pytest.mark.parametrize(("bad", "where"), BAD.values(), ids=BAD)
def test_what_is_broken_is_noticed(bad, where, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"```python\nfine = 1\n```\n\n{bad}\n")
    done = run(page, tmp_path, NEED_ALL="")
    assert done.returncode
    assert where in done.stderr


def test_what_is_missing_is_left_out_or_an_error(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- needs: numpy, no_such_library -->\n```python\nimport no_such_library\n```\n")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    done = run(page, tmp_path / "one", NEED_ALL="")
    assert (done.returncode, done.stdout) == (0, f"{page}:3: left out for want of no_such_library\n")
    done = run(page, tmp_path / "two", NEED_ALL="1")
    assert done.returncode
    assert "No module named 'no_such_library'" in done.stderr


def test_what_a_block_that_is_left_out_prints_is_left_out_too(tmp_path):
    page = tmp_path / "page.md"
    needing = "<!-- needs: no_such_library -->\n```python\nprint(1)\n```\n\n<!-- prints -->\n```text\n1\n```\n"
    page.write_text(needing + "\n```python\nprint(2)\n```\n\n<!-- prints -->\n```text\n3\n```\n")
    done = run(page, tmp_path, NEED_ALL="")
    assert f"{page}:8: left out with the block before\n" in done.stdout
    assert "page.md:17" in done.stderr


def test_lines_of_code_fit_the_page():
    """As wide as the text of the site, which the guide has between two columns."""
    for page in PAGES:
        most = 80 if page.parent.name == "guide" else 96
        for block in blocks(page.read_text(encoding="utf-8")):
            long = [line for line in block.code.splitlines() if len(line) > most]
            assert not long, f"{page}:{block.line}: {long}"


def test_few_blocks_are_not_run():
    all_blocks = [block for page in PAGES for block in blocks(page.read_text(encoding="utf-8"))]
    not_run = [block.said for block in all_blocks if block.marker == "not run"]
    assert len(not_run) <= 8
    assert len(all_blocks) > 40


# ---- links -----------------------------------------------------------------------------------------------------


def slug(heading):
    """The anchor that GitHub gives a heading, and MyST with it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page):
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    for opening, inline in zip(tokens, tokens[1:]):
        if opening.type == "heading_open":
            yield slug("".join(part.content for part in inline.children))


def links(page):
    """Links and pictures, those in HTML too."""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        for part in [token, *(token.children or [])]:
            if part.type in ("link_open", "image"):
                yield part.attrs.get("href") or part.attrs.get("src")
            elif part.type in ("html_block", "html_inline"):
                yield from re.findall(r'(?:href|src|srcset)="([^"]*)"', part.content)


@pytest.mark.parametrize("page", sorted({*PAGES, *OTHERS}), ids=name_of)
def test_links_lead_somewhere(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


def test_links_of_docs_stay_in_docs():
    """Sphinx sees no more; what lies elsewhere is named, not linked."""
    for page in PAGES[1:]:
        inside = [link for link in links(page) if not re.match(r"[a-z]+:|#", link)]
        assert all((page.parent / link.partition("#")[0]).resolve().is_relative_to(ROOT / "docs") for link in inside)


# ---- README ----------------------------------------------------------------------------------------------------


def test_readme_is_short_and_starts_with_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    commands, example, *_ = blocks(text)
    assert (commands.language, commands.code) == ("bash", "make test\nmake demo\n")
    assert example.language == "python"
    assert len(example.code.splitlines()) == 10
    # one table, and one number in each of its cells
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert text.count("|---") > 0
    assert "\n".join(rows) in text, "the rows are one table"
    for cell in (cell for row in rows[2:] for cell in row.strip("|").split("|")[1:]):
        assert len(re.findall(r"\d[\d,.]*", cell)) <= 1, cell
