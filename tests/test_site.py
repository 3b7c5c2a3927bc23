"""The site as it is built: nothing from elsewhere, nothing missing, pictures with a text beside
them.
"""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Page(HTMLParser):
    """What a page loads, links to, and shows."""

    def __init__(self, path: Path):
        super().__init__()
        self.loads, self.links, self.without_alt, self.names = [], [], 0, set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.names.add(attributes.get("id"))
        if tag in ("script", "img", "source", "iframe") and attributes.get("src"):
            self.loads.append(attributes["src"])
        if tag == "link" and attributes.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.append(attributes["href"])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        self.without_alt += tag == "img" and not attributes.get("alt")


def test_pages_load_nothing_from_elsewhere_and_miss_nothing(site):
    pages = {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    assert {f"{path.stem}.html" for path in (ROOT / "nbs").glob("*.ipynb")} <= {
        path.name for path in pages
    }
    for path, page in pages.items():
        assert page.without_alt == 0, path
        assert not [address for address in page.loads if re.match("(https?:)?//", address)], path
        imported = re.findall(
            r'import \w+ from "(\./|\.\./)([^"]*)"', path.read_text(encoding="utf-8")
        )
        for address in [
            *page.loads,
            *("".join(parts) for parts in imported),
            *(link for link in page.links if not re.match("[a-z]+:", link)),
        ]:
            file = address.partition("#")[0].partition("?")[0]
            assert not file or (path.parent / file).exists(), (path, address)


def test_formulas_are_drawn_without_a_script_and_diagrams_have_theirs(site):
    chapter = (site / "10_losses.html").read_text(encoding="utf-8")
    assert chapter.count("<math ") > 5 and "\\mathcal" not in re.sub(
        "<(script|annotation).*?</\\1>", "", chapter, flags=re.DOTALL
    )
    assert (site / "_static" / "mermaid" / "default.js").is_file() and "mermaid/default.js" in (
        site / "24_transfer.html"
    ).read_text(encoding="utf-8")
    for module in (site / "_static" / "mermaid").glob("*.js"):
        for other in re.findall(
            r'(?:from|import\()"(\./[^"]+\.js)"', module.read_text(encoding="utf-8")
        ):
            assert (module.parent / other).is_file(), (module.name, other)


def test_search_and_the_list_for_language_models_know_the_library(site):
    assert "transferrecommender" in (site / "searchindex.js").read_text(encoding="utf-8").lower()
    assert "24_transfer.html" in (site / "llms.txt").read_text(encoding="utf-8")


def test_saved_outputs_name_no_folder_of_the_machine_that_ran_them():
    found = {}
    for notebook in (ROOT / "nbs").glob("*.ipynb"):
        for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
            saved = json.dumps(
                [
                    {
                        kind: text
                        for kind, text in output.get("data", output).items()
                        if not kind.startswith("image/")
                    }
                    for output in cell.get("outputs", [])
                ]
            )
            if paths := re.findall(
                r"[^\s\"'(]*(?:/site-packages/|/home/|/root/|/Users/|/tmp/|[A-Z]:\\\\)[^\s\"']*",
                saved,
            ):
                found[notebook.name, number] = paths[0]
    assert not found
