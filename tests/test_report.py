"""The report: whole, self-contained, escaped."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from training import pictures, report

PNG = pictures.png_bytes(np.zeros((4, 6, 1)))
GIF = pictures.gif_bytes([np.zeros((4, 6, 1)), np.ones((4, 6, 1))])

VOID = {"meta", "img", "br", "hr", "link"}


class Checker(HTMLParser):
    """Collects the text, and complains of tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def parsed(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def everything(picture: Path) -> list[report.Section | None]:
    return [
        report.Title(
            "run 1", "IB-GAN on dSprites", "dsprites_reconstructed", 1500, 7, "ab" * 32, {"Hardware": "4 cores"}
        ),
        report.shorter_run_notice(1500, 150_000),
        report.shorter_run_notice(150_000, 150_000),
        report.Notice("A note."),
        report.Heading("Scores"),
        report.Text("One.\n\nTwo."),
        report.score_table([report.Score("factor_vae", 0.8123, 0.8, 0.07, "1 code is dead")]),
        report.Table(["a", "b"], [["x", 1234567], ["y", None]], "Sizes"),
        report.Picture(PNG, "a sheet"),
        report.Gallery([report.Picture(picture, "moving"), report.Picture(str(picture))]),
        report.KeyValues({"beta": 0.141, "steps": 150000, "none": None}, "Configuration"),
        report.KeyValues({"x": 1}, "All", folded=True),
    ]


@pytest.fixture
def gif_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.gif"
    path.write_bytes(GIF)
    return path


def test_report_is_one_whole_file_without_anything_from_outside(tmp_path: Path, gif_file: Path) -> None:
    target = tmp_path / "run" / "report.html"
    report.write_report(target, everything(gif_file))
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]
    page = target.read_text(encoding="utf-8")
    checker = parsed(page)
    names = [tag for tag, _ in checker.tags]
    assert not {"script", "link", "iframe", "object"} & set(names)
    assert not re.search(r"(?:https?:)?//[a-z]|url\(|@import", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))
    sources = [attributes["src"] or "" for tag, attributes in checker.tags if tag == "img"]
    assert [source.split(",")[0] for source in sources] == ["data:image/png;base64"] + ["data:image/gif;base64"] * 2
    assert base64.b64decode(sources[0].split(",")[1]) == PNG
    assert base64.b64decode(sources[1].split(",")[1]) == GIF


def test_report_shows_what_it_was_given(gif_file: Path) -> None:
    text = " ".join(parsed(report.report_html(everything(gif_file))).words)
    for words in (
        "run 1",
        "dsprites_reconstructed",
        "1,500",
        "ab" * 32,
        "4 cores",
        "shorter than the paper's: 1,500 of 150,000 steps (1 %)",
        "0.812",
        "0.80 \N{PLUS-MINUS SIGN} 0.07",
        "+0.012",
        "1 code is dead",
        "1,234,567",
        "0.141",
        "150000",
    ):
        assert words in text
    assert text.count("shorter than the paper's") == 1


def test_everything_is_escaped() -> None:
    evil = "<script>alert('x')</script>\"&\x00\x1b[31m\ud800"
    sections: list[report.Section | None] = [
        report.Title(evil, evil, evil, 1, 1, evil, {evil: evil}),
        report.Heading(evil),
        report.Text(evil),
        report.Notice(evil, "error"),
        report.Table([evil], [[evil]], evil),
        report.Picture(PNG, evil),
        report.KeyValues({evil: evil}, evil, folded=True),
        report.score_table([report.Score(evil, 1.0, remark=evil)], evil),
    ]
    page = report.report_html(sections)
    page.encode("utf-8")
    checker = parsed(page)
    assert "script" not in {tag for tag, _ in checker.tags}
    assert "\x00" not in page
    assert "\x1b" not in page
    (alternative,) = [attributes["alt"] for tag, attributes in checker.tags if tag == "img"]
    assert alternative == "<script>alert('x')</script>\"&\\x00\\x1b[31m\\ud800"


def test_pictures_say_their_size() -> None:
    (image,) = [a for tag, a in parsed(report.Picture(PNG).html()).tags if tag == "img"]
    assert (image["width"], image["height"]) == ("6", "4")
    (image,) = [a for tag, a in parsed(report.Picture(GIF).html()).tags if tag == "img"]
    assert (image["width"], image["height"]) == ("6", "4")


def test_scores_without_a_published_value_take_no_columns() -> None:
    table = report.score_table([report.Score("a", 0.5), report.Score("b", math.nan)])
    assert list(table.columns) == ["Metric", "This run"]
    assert [list(row) for row in table.rows] == [["a", "0.500"], ["b", None]]
    mixed = report.score_table([report.Score("a", 0.5, 0.123), report.Score("b", 0.25, remark="3 of 4 codes")])
    assert list(mixed.columns) == ["Metric", "This run", "Paper", "Difference", "Remarks"]
    assert list(mixed.rows[0]) == ["a", "0.500", "0.123", "+0.377", None]
    assert report.score_table([report.Score("a", 0.5, 0.88)]).rows[0][3] == "\N{MINUS SIGN}0.380"


def test_numbers_stand_to_the_right_and_sentences_do_not() -> None:
    rows = [["1 of 2 codes", "0.80 \N{PLUS-MINUS SIGN} 0.07", 3, 0.123456, np.float32(2)]]
    tags = parsed(report.Table(list("abcde"), rows).html()).tags
    assert [attributes.get("class") for tag, attributes in tags if tag == "td"] == [None] + ["number"] * 4
    assert "0.1235" in report.Table(["a"], [[0.123456]]).html()
    assert "nan" in report.Table(["a"], [[math.nan]]).html()
    assert parsed(report.Table(["a"], []).html()).tags


def test_markdown_keeps_its_columns() -> None:
    assert report.Table(["a|b", "c"], [[None, "x|y"]]).markdown() == [r"| a\|b | c |", "|---|---|", r"| - | x\|y |"]


def test_facts_are_shown_exactly() -> None:
    assert "0.123456789" in report.KeyValues({"a": 0.123456789}).html()
    assert ">1234567<" in report.KeyValues({"seed": 1234567}).html()


def test_notice_of_a_shorter_run() -> None:
    assert report.shorter_run_notice(10, None) is None
    notice = report.shorter_run_notice(100, 1_000_000)
    assert notice is not None
    assert notice.level == "warning"
    assert "100 of 1,000,000 steps (0.01 %)" in notice.text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: report.Notice("x", "loud"), "info, warning, error"),
        (lambda: report.Table(["a"], [["x", "y"]]), "row 0 of a table has 2 cells for 1 columns"),
        (lambda: report.Picture(b"\xff\xd8jpeg").html(), "PNG or GIF"),
        (lambda: report.Picture(b"\x89PNG\r\n\x1a\n").html(), "PNG or GIF"),
        (lambda: report.KeyValues({}, folded=True), "caption"),
    ],
)
def test_sections_refuse(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    report.write_report(target, [report.Text("old")])
    with pytest.raises(FileNotFoundError):
        report.write_report(target, [report.Text("new"), report.Picture(tmp_path / "missing.png")])
    assert "old" in target.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
