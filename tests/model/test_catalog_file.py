"""A catalog file is loaded whole or not at all, and whoever wrote it is told every line that is wrong."""

from pathlib import Path

import pytest

from quickcommerce.catalog.file import BadFile, read_file
from quickcommerce.catalog.model import Entry

HEADER = "product_id,name,price,stock,name_en,category\n"
SHORT = "product_id,name,price,stock\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.csv"


def entries(path: Path, text: str | bytes) -> list[Entry]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(path)


def refusal(path: Path, text: str | bytes) -> list[str]:
    with pytest.raises(BadFile) as refused:
        entries(path, text)
    assert str(refused.value) == "\n".join(refused.value.lines)
    return refused.value.lines


def test_a_file_with_every_column_and_one_with_the_needed_ones(path: Path) -> None:
    assert entries(path, HEADER + "1,우유 1L,2900,50,Milk 1L,dairy\n") == [
        Entry(1, "우유 1L", 2_900, 50, "Milk 1L", "dairy")
    ]
    assert entries(path, "stock,price,product_id,name\n0,1,9007199254740991,x") == [Entry(2**53 - 1, "x", 1, 0)]
    assert entries(path, HEADER) == []


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + (SHORT + "1,우유,2900,50\n").encode(),
        (SHORT + "1,우유,2900,50\n").replace("\n", "\r\n").encode(),
        (SHORT + '1,"우유","2900","50"\n').encode(),
        (SHORT + "1, 우유 , 2900 , 50 \n").encode(),
        (SHORT + "\n\n1,우유,2900,50\n\n").encode(),
    ],
    ids=["with a BOM", "from Windows", "quoted", "with blanks", "with blank lines"],
)
def test_a_file_as_spreadsheets_write_it(path: Path, text: bytes) -> None:
    assert entries(path, text) == [Entry(1, "우유", 2_900, 50)]


def test_quotes_keep_commas_and_quotes_in_a_name(path: Path) -> None:
    [entry] = entries(path, SHORT + '1,"사과, ""부사"" 1.5kg",9900,5\n')
    assert entry.name == '사과, "부사" 1.5kg'


NUMBER = "a whole number from"
PLAINLY = "characters, without tabs, line breaks or others that are not seen"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1,x,0,1,,", f"price must be {NUMBER} 1 to 10000000000"),
        ("1,x,1,many,,", f"stock must be {NUMBER} 0 to 1000000000"),
        ("one,x,1,1,,", f"product_id must be {NUMBER} 1 to 9007199254740991"),
        ("1,,1,1,,", f"name must be 1 to 200 {PLAINLY}"),
        ("1,x,1,1," + "x" * 201 + ",", f"name_en must be at most 200 {PLAINLY}"),
        ("1,x,1,1,,a\tb", f"category must be at most 60 {PLAINLY}"),
        ("1,x,1", "it has 3 cells, and the header has 6"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_whoever_keeps_the_shop(path: Path, row: str, said: str) -> None:
    assert refusal(path, HEADER + row) == [f"line 2: {said}"]


@pytest.mark.parametrize("price", ["1.0", "1e3", "1_000", "+5", "-0", "1 000", "٣", "²", "0x10", "1" + "0" * 5000])
def test_what_only_looks_like_a_whole_number_is_no_price(path: Path, price: str) -> None:
    """Where a spreadsheet has turned prices into something else, what it meant is not for us to guess."""
    assert refusal(path, SHORT + f"1,x,{price},1") == [f"line 2: price must be {NUMBER} 1 to 10000000000"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old mac"])
def test_a_row_is_told_with_the_line_on_which_it_begins(path: Path, end: str) -> None:
    """After a byte order mark, blank lines, and cells that go on over several lines."""
    rows = ['product_id,name,price,"stock"', "1,a,1,1", "", '2,"b', "", 'c",0,1', "", "3,d,0,1", '"4","', '",1,1']
    text = b"\xef\xbb\xbf" + end.join(rows).encode()
    assert refusal(path, text) == [
        f"line 4: name must be 1 to 200 {PLAINLY}",
        f"line 8: price must be {NUMBER} 1 to 10000000000",
        f"line 9: name must be 1 to 200 {PLAINLY}",
    ]


ROWS = [
    ("0,x,1,1", "product_id"),
    ("-1,x,1,1", "product_id"),
    ("9007199254740992,x,1,1", "product_id"),
    ("abc,x,1,1", "product_id"),
    (",x,1,1", "product_id"),
    ("1,,1,1", "name"),
    ("1,   ,1,1", "name"),
    ("1," + "x" * 201 + ",1,1", "name"),
    ("1,a\x00b,1,1", "name"),
    ("1,a\tb,1,1", "name"),
    ("1,a\x7fb,1,1", "name"),
    ("1,x,0,1", "price"),
    ("1,x,-5,1", "price"),
    ("1,x,10000000001,1", "price"),
    ("1,x,9.5,1", "price"),
    ("1,x,₩100,1", "price"),
    ("1,x,NaN,1", "price"),
    ("1,x,1e999,1", "price"),
    ("1,x,1,-1", "stock"),
    ("1,x,1,1000000001", "stock"),
    ("1,x,1,many", "stock"),
    ("1,x,1,", "stock"),
    ("1,x,1,1," + "x" * 201 + ",", "name_en"),
    ("1,x,1,1,a\x00b,", "name_en"),
    ("1,x,1,1,," + "x" * 61, "category"),
    ("1,x,1,1,,a\x01b", "category"),
    ("1,x,1", "cells"),
    ("1", "cells"),
    ("1,x,1,1,,,", "cells"),
    ("7,x,1,1,,", "product_id 7 stands in an earlier line"),
]


@pytest.mark.parametrize(("row", "reason"), ROWS)
def test_a_bad_row_is_told_with_its_line_and_reason_and_nothing_is_taken(path: Path, row: str, reason: str) -> None:
    row += "," * (5 - row.count(",")) if row.count(",") == 3 else ""
    [line] = refusal(path, HEADER + "7,fine,1,1,,\n" + row + "\n8,fine,1,1,,\n")
    assert line.startswith("line 3: ")
    assert reason in line


def test_every_bad_row_is_told_at_once_and_each_with_its_own_line(path: Path) -> None:
    text = SHORT + "1,a,x,1\n\n2,b,2,2\n3,,3,3\n\n4,d,4\n2,e,5,5\n5,f,-1,5\n"
    lines = refusal(path, text)
    assert [line.partition(":")[0] for line in lines] == ["line 2", "line 5", "line 7", "line 8", "line 9"]


def test_two_rows_of_one_product_are_an_error_and_not_an_update(path: Path) -> None:
    assert refusal(path, SHORT + "1,a,1,1\n2,b,1,1\n1,a,2,1\n1,c,3,1\n") == [
        "line 4: product_id 1 stands in an earlier line",
        "line 5: product_id 1 stands in an earlier line",
    ]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "\n",
        "product_id,name,price\n",
        "product_id,name,price,stock,colour\n",
        "product_id,name,price,stock,name\n",
        "Product_ID,name,price,stock\n",
        "product_id;name;price;stock\n",
        "1,우유,2900,50\n",
    ],
)
def test_a_header_that_is_wrong_is_told_before_any_row(path: Path, header: str) -> None:
    [line] = refusal(path, header + "1,x,1,1\n" * bool(header))
    assert line.startswith("line 1: the columns must be product_id,name,price,stock")


@pytest.mark.parametrize(
    ("row", "line"),
    [('2,"b"c,1,1', "line 3"), ('2,"b,1,1\n3,c,1,1\n', "line 3")],
    ids=["a quote in the middle", "a quote that is never closed"],
)
def test_a_row_that_cannot_be_parsed_is_told_with_its_line(path: Path, row: str, line: str) -> None:
    [told] = refusal(path, SHORT + "1,a,1,1\n" + row)
    assert told.startswith(f"{line}: a cell has no end")


def test_a_name_of_any_length_is_told_to_be_too_long(path: Path) -> None:
    for length in (201, 200_000):
        [told] = refusal(path, SHORT + f"1,{'x' * length},1,1\n")
        assert told.startswith("line 2: name must be 1 to 200 characters")


def test_a_file_in_another_encoding_is_told_with_the_line_at_which_it_shows(path: Path) -> None:
    """Spreadsheets in Korea still write CP949; where most names are ASCII the first Korean one is far down."""
    rows = "".join(f"{number},item {number},100,1\n" for number in range(1, 3000))
    assert refusal(path, (SHORT + rows + "3000,우유,100,1\n").encode("cp949")) == [
        "line 3001: this is not UTF-8 text; save the file as UTF-8"
    ]
    [line] = refusal(path, (SHORT + "1,우유,1,1\n").encode("utf-16"))
    assert line.startswith("line 1: ")


def test_the_sample_catalog_is_a_catalog() -> None:
    import quickcommerce

    sample = read_file(Path(quickcommerce.__file__).parent / "samples" / "catalog.csv")
    assert len(sample) >= 100
    assert all(entry.name_en and entry.category and entry.stock for entry in sample)
