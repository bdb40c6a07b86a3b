"""The website is built strictly, needs no network, and every link on it leads somewhere.

What builds it is installed apart, as the real programs are: these tests have their marker.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.known import ROOT
from tests.support.waiting import patience
from tests.website.html import Page, of_css
from website.pages import HOME, Unfinished, pages, parts, place
from website.staging import Stage

# One worker builds, and looks at all of it.
pytestmark = pytest.mark.xdist_group("website")

LINKS = (ROOT / "website/links.txt").read_text(encoding="utf-8").splitlines()
_SOURCE = re.compile(r"https://github\.com/roomkeeper/roomkeeper/(blob|tree)/main/")


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """`make site` for a repository."""
    command = [sys.executable, "-m", "website", "--root", str(root), "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(300), check=False)


@pytest.fixture(scope="module")
def site(real_programs: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """The pages of the website by their paths on it."""
    out = tmp_path_factory.mktemp("website") / "site"
    built = build(ROOT, out)
    assert built.returncode == 0, built.stdout + built.stderr
    return {path.relative_to(out).as_posix(): Page(path) for path in sorted(out.rglob("*.html"))}


def home(site: dict[str, Page]) -> Path:
    return site["index.html"].path.parent


def test_every_page_is_on_the_website_with_its_title(site: dict[str, Page]) -> None:
    for path in pages():
        heading = re.search(r"^# (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert heading is not None, path
        page = site[place(path).replace(".md", ".html")]
        assert page.heading.replace("’", "'") == heading[1].replace("`", "")


def test_nothing_is_loaded_from_elsewhere(site: dict[str, Page]) -> None:
    for page in site.values():
        assert page.loads
        for load in page.loads:
            assert not urlsplit(load).scheme, f"{page.path} loads {load}"
            assert not load.startswith("//"), f"{page.path} loads {load}"
            assert (page.path.parent / unquote(urlsplit(load).path)).is_file(), f"{page.path}: there is no {load}"
    for sheet in home(site).rglob("*.css"):
        elsewhere = [load for load in of_css(sheet.read_text(encoding="utf-8")) if "://" in load or "//" in load[:2]]
        assert elsewhere == [], sheet


def test_every_link_of_the_website_leads_to_a_page_and_a_heading(site: dict[str, Page]) -> None:
    targets = {page.path.resolve(): page for page in site.values()}
    for page in site.values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link == "#":
                continue
            target = targets.get((page.path.parent / parts.path).resolve() if parts.path else page.path.resolve())
            assert target is not None, f"{page.path}: {link}"
            anchor = unquote(parts.fragment)
            assert not anchor or anchor in target.ids, f"{page.path}: {link}"


def test_links_to_the_repository_lead_to_its_files(site: dict[str, Page]) -> None:
    linked = {link for page in site.values() for link in page.links if _SOURCE.match(link)}
    assert linked
    for link in linked:
        file = ROOT / urlsplit(_SOURCE.sub("", link)).path
        assert file.is_dir() if "/tree/" in link else file.is_file(), link


def test_links_to_other_sites_are_those_of_the_list(site: dict[str, Page]) -> None:
    """`website/links.txt` is the one list to look through before a release: no test asks the network."""
    outside = {link for page in site.values() for link in page.links if urlsplit(link).scheme}
    listed = [line for line in LINKS if not line.startswith("#")]
    assert sorted({link for link in outside if not _SOURCE.match(link)}) == listed
    for link in listed:
        assert re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]+(/[\w./~%@:+-]*)?(#[\w./-]+)?", link), link


def test_diagrams_are_drawn_by_a_script_beside_the_pages(site: dict[str, Page]) -> None:
    drawn = [page for page in site.values() if 'class="mermaid"' in page.path.read_text(encoding="utf-8")]
    assert len(drawn) >= 2
    script = (home(site) / "_static/diagrams.js").read_text(encoding="utf-8")
    assert "mermaid.js" in script
    assert (home(site) / "_static/mermaid.js").stat().st_size > 1_000_000


def test_the_navigation_has_five_parts_and_every_page_once() -> None:
    found = parts((ROOT / HOME).read_text(encoding="utf-8"))
    assert [part.title for part in found] == ["Start", "Guides", "Operate", "Reference", "Project"]
    assert len({place(path) for path in pages()}) == len(pages())


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository of three pages that fit together."""
    root = tmp_path / "repository"
    (root / "docs/images").mkdir(parents=True)
    (root / "docs/alerts").mkdir()
    (root / "pyproject.toml").write_text('[project]\nurls = { Source = "https://example.org/x" }\n')
    (root / HOME).write_text("# Home\n\n## Start\n\n- [Alerts](alerts.md): all\n")
    (root / "docs/alerts.md").write_text("# Alerts\n\n[one](alerts/one.md#why), [code](../pyproject.toml)\n\n## What\n")
    (root / "docs/alerts/one.md").write_text("# One\n\n## Why\n\nSee [alerts.md](../alerts.md#what), `[x](y.md)`.\n")
    return root


def test_a_page_below_another_needs_no_place_in_the_navigation(small: Path, tmp_path: Path) -> None:
    Stage(small).write(tmp_path / "pages")
    assert "/alerts/one\n" in (tmp_path / "pages/alerts.md").read_text()
    assert "[code](https://example.org/x/blob/main/pyproject.toml)" in (tmp_path / "pages/alerts.md").read_text()
    assert "See [Alerts](../alerts.md#what), `[x](y.md)`." in (tmp_path / "pages/alerts/one.md").read_text()


def test_a_link_to_no_file_and_a_page_that_nothing_leads_to_are_errors(small: Path, tmp_path: Path) -> None:
    (small / "docs/lost.md").write_text("# Lost\n\n[gone](gone.md)\n")
    with pytest.raises(Unfinished) as error:
        Stage(small).write(tmp_path / "pages")
    assert str(error.value).splitlines() == [
        "docs/lost.md:3: the link leads to no file: gone.md",
        "docs/lost.md: no page leads to it; list it in docs/README.md",
    ]


@pytest.mark.usefixtures("real_programs")
def test_a_link_to_no_heading_fails_the_build(small: Path, tmp_path: Path) -> None:
    page = small / "docs/alerts.md"
    page.write_text(page.read_text().replace("#why", "#how"))
    built = build(small, tmp_path / "site")
    assert built.returncode != 0
    assert "alerts.md:3: WARNING: local id not found in doc 'alerts/one': 'how'" in built.stderr
