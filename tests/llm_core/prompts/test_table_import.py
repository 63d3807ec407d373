"""Tables as people have them, and what is said about those that are none."""

from __future__ import annotations

import pytest

from llm_core import Example, NucleusError
from llm_core.prompts.table_import import MAX_TABLE_BYTES, MAX_TABLE_ROWS, make_examples, read_table, write_csv

ROWS = [{"input": "một, hai", "output": "ba"}, {"input": "x", "output": ""}]


@pytest.mark.parametrize(
    "data",
    [
        'input,output\n"một, hai",ba\nx,\n',
        "input\toutput\nmột, hai\tba\nx\t\n",
        "input;output\nmột, hai;ba\nx;\n",
        "| input | output |\n|---|:--|\n| một, hai | ba |\n| x |  |\n",
        '[{"input": "một, hai", "output": "ba"}, {"input": "x", "output": null}]',
        '{"input": "một, hai", "output": "ba"}\n\n{"input": "x", "output": ""}\n',
    ],
)
def test_every_kind_of_table(data):
    assert read_table(data) == ROWS
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert read_table(data.encode(encoding)) == ROWS


def test_csv_round_trip():
    rows = [{"a": 'say "hi"\nnow', "b": "1,2"}]
    assert read_table(write_csv(rows)) == rows


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("", "table_empty"),
        ("a,b\n", "table_empty"),
        ("[]", "table_empty"),
        (b"a,b\n\xe9,1\n", "table_not_text"),
        ("a\0,b\n1,2", "table_not_text"),
        ("a,a\n1,2", "column_repeated"),
        ("a,b\n1,2,3", "row_too_long"),
        ('a,b\n"1,2', "table_unreadable"),
        ("[1]", "row_not_object"),
        ('{"a": 1}\n{"a":', "row_not_json"),
        ("[" * 5000, "row_not_json"),
        (b"x" * (MAX_TABLE_BYTES + 1), "table_too_large"),
        ("a\n" + "1\n" * (MAX_TABLE_ROWS + 1), "table_too_long"),
    ],
)
def test_refused(data, code):
    with pytest.raises(NucleusError) as caught:
        read_table(data)
    assert caught.value.code == code


def test_examples_by_name_by_order_and_without_repetitions():
    expected = Example("2+2", "4", "two and two")
    assert make_examples([{"Đầu ra": "4", "suy luận": "two and two", "đầu vào": "2+2"}]) == ((expected,), 0)
    assert make_examples([{"a": "2+2", "b": "two and two", "c": "4"}] * 3) == ((expected,), 2)
    assert make_examples([{"a": "x", "b": "y"}]) == ((Example("x", "y"),), 0)


def test_incomplete_rows_are_named():
    with pytest.raises(NucleusError) as caught:
        make_examples([{"input": "a", "output": "b"}, {"input": "a", "output": " "}])
    assert caught.value.details == {"number": 2, "field": "output"}
    with pytest.raises(NucleusError) as caught:
        make_examples([{"text": "a"}])
    assert caught.value.code == "table_needs_columns"
