"""Tables: alignment, escaping, missing cells."""

from lidistill.evaluation.table import html_table, latex_table, markdown_table, text_table

ROWS = [
    {"class": "car", "IoU": 61.25, "points": 1200},
    {"class": "traffic|cone", "IoU": float("nan"), "note": "<rare>"},
    {"class": "bus", "IoU": None, "points": 7},
]


def test_text():
    assert text_table(ROWS).splitlines() == [
        "class           IoU  points  note",
        "------------  -----  ------  ------",
        "car           61.25    1200",
        "traffic|cone      -          <rare>",
        "bus               -       7",
    ]


def test_markdown():
    assert markdown_table(ROWS).splitlines() == [
        "| class | IoU | points | note |",
        "| --- | ---: | ---: | --- |",
        "| car | 61.25 | 1200 |  |",
        "| traffic\\|cone | - |  | <rare> |",
        "| bus | - | 7 |  |",
    ]


def test_html():
    table = html_table(ROWS)
    assert '<td>traffic|cone</td><td class="number">-</td><td class="number"></td><td>&lt;rare&gt;</td>' in table
    assert '<th class="number">IoU</th>' in table
    assert table.count("<tr>") == 4


def test_latex():
    lines = latex_table([{"class": r"a_b\c", "mIoU %": "61.2 ± 0.3", "to": "A -> B"}]).splitlines()
    assert lines[0] == r"\begin{tabular}{lrl}"
    assert lines[2] == r"class & mIoU \% & to \\"
    assert lines[4] == r"a\_b\textbackslash{}c & 61.2 $\pm$ 0.3 & A $\to$ B \\"
    assert lines[-1] == r"\end{tabular}"


def test_latex_signs_that_are_others_in_its_default_font():
    lines = latex_table([{"run": "[a] x<y>z|w"}]).splitlines()
    assert lines[4] == r"{[}a] x\textless{}y\textgreater{}z\textbar{}w \\"


def test_spread_is_a_number_and_line_breaks_vanish():
    lines = text_table([{"mIoU": "61.2 ± 0.3", "name": "a\nb"}, {"mIoU": "7.5", "name": "c"}]).splitlines()
    assert lines[2:] == ["61.2 ± 0.3  a b", "       7.5  c"]


def test_no_rows():
    assert text_table([]) == markdown_table([]) == ""
    assert "toprule" in latex_table([])
    assert "<td" not in html_table([])
