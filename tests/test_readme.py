"""The two READMEs say the same, in English and in Chinese."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, CHINESE = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")
)


def sections(text: str) -> list[str]:
    """The parts of a page, code left out."""
    return re.split(r"^## ", re.sub(r"```.*?```", "", text, flags=re.S), flags=re.M)[1:]


def code(text: str) -> list[str]:
    """Code blocks but for pictures, without what is said in words."""
    blocks = re.findall(r"^```(?:sh|python)\n(.*?)^```", text, re.S | re.M)
    return [re.sub(r" *#.*", "", block) for block in blocks]


def links(text: str) -> set[str]:
    return set(re.findall(r"\]\(((?:nbs|docs)/[^)]+)\)", text))


def test_the_same_commands_and_code():
    assert code(CHINESE) == code(ENGLISH) and len(code(ENGLISH)) >= 7


def test_the_same_sections_in_the_same_order():
    english, chinese = sections(ENGLISH), sections(CHINESE)
    assert len(english) == len(chinese)
    for ours, theirs in zip(english, chinese, strict=True):
        assert links(ours) <= links(theirs) | links(ENGLISH.partition("\n## ")[0]), theirs[:20]
        assert ours.count("\n- ") == theirs.count("\n- ")
        assert ours.count("\n|") == theirs.count("\n|")


def test_every_chapter_is_linked_and_has_a_chinese_name():
    assert links(CHINESE) == links(ENGLISH)
    for label, chapter in re.findall(r"\[([^\]]+)\]\(nbs/(\w+)\.ipynb\)", CHINESE):
        number = chapter.partition("_")[0].lstrip("0") or "0"
        if label.startswith(f"{number} "):
            assert re.search("[一-鿿]", label), label


def test_the_same_results():
    def table(text: str) -> list[str]:
        return re.findall(r"^ {4}\d+ .*\d\.\d{3}$", text, re.M)

    assert table(CHINESE) == table(ENGLISH)[-len(table(CHINESE)) :] and len(table(CHINESE)) > 20
