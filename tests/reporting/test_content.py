"""Names and ages as the report prints them."""

import pytest

from agcnn_clinic.reporting.content import age, person_name


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("", []),
        ("Berg^Anna", ["Berg, Anna"]),
        ("Berg^Anna^Maria^Dr.^MD", ["Berg, Dr. Anna Maria MD"]),
        ("<b>&", ["<b>&"]),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["Yamada, Tarou", "山田 太郎", "やまだ たろう"]),
        ("=山田^太郎", ["山田 太郎"]),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", ["ﾔﾏﾀﾞ ﾀﾛｳ", "山田 太郎", "やまだ たろう"]),
        ("Hong^Gildong=洪^吉洞=홍^길동", ["Hong, Gildong", "洪 吉洞", "홍 길동"]),
        ("^^^^", []),
        ("a^b^c^d^e^f=g=h=i=j", ["a, d b c e", "g", "h"]),
    ],
)
def test_person_names_are_written_in_each_of_their_groups(name: str, lines: list[str]) -> None:
    """The three component groups become lines; Eastern ones keep their own order without a comma."""
    assert person_name(name) == lines


@pytest.mark.parametrize(
    ("born", "then", "years"),
    [
        ("1957-08-30", "2026-03-01", 68),
        ("1957-03-01", "2026-03-01", 69),
        ("2024-02-29", "2025-02-28", 0),
        ("2026-03-02", "2026-03-01", None),
        ("", "2026-03-01", None),
        ("1957", "2026-03-01", None),
        ("1957-03-01", "", None),
    ],
)
def test_age_is_in_whole_years(born: str, then: str, years: int | None) -> None:
    """A birthday counts on its day; nonsense and missing dates give no age."""
    assert age(born, then) == years
