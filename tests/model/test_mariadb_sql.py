"""Values written into statements: whoever names a product must not write SQL."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickcommerce.kit.mariadb_sql import inserts, statement
from quickcommerce.order.model import Status

QUOTED = re.compile(r"'(?:[^'\\]|\\\\|'')*'", re.DOTALL)
"""One whole string of SQL: it ends at the first quote that is not doubled, and no backslash stands alone."""


def test_question_marks_outside_of_quotes_are_where_values_go_and_a_lock_is_spelled_out() -> None:
    sql = "SELECT ? FROM a WHERE b LIKE 'x%?' AND c = ? /*lock*/"
    assert statement(sql, (1, "%s?")) == "SELECT 1 FROM a WHERE b LIKE 'x%?' AND c = '%s?' FOR UPDATE"


@given(st.text(alphabet=st.one_of(st.sampled_from("'\\\"%?;-\0\n"), st.characters())))
def test_a_text_is_one_string_of_sql_and_reads_as_itself(text: str) -> None:
    written = statement("?", (text,))
    assert QUOTED.fullmatch(written)
    assert written[1:-1].replace("''", "'").replace("\\\\", "\\") == text


@given(st.binary())
def test_bytes_are_written_in_digits(data: bytes) -> None:
    written = statement("?", (data,))
    assert re.fullmatch("x'[0-9a-f]*'", written)
    assert bytes.fromhex(written[2:-1]) == data


def test_a_member_is_its_text_and_nothing_is_null() -> None:
    assert statement("? ? ? ? ?", (Status.PLACED, None, True, -5, 0.5)) == "'PLACED' NULL 1 -5 0.5"


def test_a_value_without_a_literal_and_a_wrong_number_of_values_are_errors() -> None:
    with pytest.raises(TypeError, match="a list cannot be written into a statement"):
        statement("?", ([1],))
    for params in ((), (1, 2)):
        with pytest.raises(TypeError):
            statement("SELECT ?", params)


def test_rows_are_written_one_after_another() -> None:
    assert list(inserts("a", "b, c", [(1, "x"), (2, None)])) == ["INSERT INTO a (b, c) VALUES (1, 'x'), (2, NULL)"]
    assert list(inserts("a", "b, c", [])) == []
