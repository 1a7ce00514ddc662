"""The frame of a page: whole, escaped, and in need of nothing else."""

import re

from celebgen_cli.pages import html


def test_a_page_needs_nothing_else_and_runs_no_script() -> None:
    page = html.document("A & <B>", "sum <b>up</b>", "mind", [("one", "One", "<p>body</p>")], "foot <er>")
    assert "<title>A &amp; &lt;B&gt;</title>" in page and "foot &lt;er&gt;" in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert '<a href="#one">One</a>' in page and '<section id="one"><h2>One</h2><p>body</p></section>' in page
    assert '<p class="notice">mind</p>' in page
    assert "<script" not in page and "url(" not in page
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["#one"]
    assert "default-src 'none'" in page
    assert "notice" not in html.document("A", "", "", [], "").split("</style>")[1]


def test_tables_escape_what_is_no_html() -> None:
    made = html.table(["name", "n"], [["<i>", "1"]])
    assert "<td>&lt;i&gt;</td><td class=num>1</td>" in made and "<th>name</th><th class=num>n</th>" in made
    for raw in (False, True):
        assert "<th>&lt;b&gt;</th>" in html.table(["<b>"], [["x"]], raw=raw)
    assert "<td><i>x</i></td>" in html.table(["name"], [["<i>x</i>"]], raw=True)


def test_a_face_has_its_words() -> None:
    made = html.face("data:image/jpeg;base64,AA", "a & b", "c")
    assert 'alt="a &amp; b"' in made and "a &amp; b<br>c" in made
