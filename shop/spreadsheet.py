"""CSV as spreadsheets and other shops write and read it."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator

# What spreadsheets take for a formula. https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = ("=", "+", "-", "@", "\t", "\r")
# What is below zero is no formula.
NUMBER = re.compile(r"-[0-9]+(\.[0-9]+)?")
# Spreadsheets read UTF-8 only behind it.
BOM = "\ufeff"
# Excel in Japan still writes the second; the third is its “Unicode text”, known by its mark.
ENCODINGS = ("utf-8-sig", "cp932")


def line(cells: Iterable[str]) -> str:
    """Return a row of CSV in which no spreadsheet finds a formula; rows() takes that back."""
    row = io.StringIO()
    safe = [f"'{c}" if _is_formula(c) and not NUMBER.fullmatch(c) else c for c in cells]
    csv.writer(row).writerow(safe)
    return row.getvalue()


def rows(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table with the number of the line on which each begins.

    Commas, semicolons or tabs stand between the cells, whichever the first line has most of.
    Raises ValueError, with the line where there is one, for what is no table.
    """
    text = _decoded(data)
    first = text.partition("\n")[0]
    separator = max((",", ";", "\t"), key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    begins = 1
    try:
        for cells in reader:
            yield begins, [_unescaped(cell) for cell in cells]
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{reader.line_num}: {error}") from error


def heading(cell: str) -> str:
    """Return the name of a column as it is compared: small letters, single spaces, usual widths."""
    return " ".join(unicodedata.normalize("NFKC", cell).lower().split())


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    for encoding in ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ValueError("neither UTF-8 nor Shift_JIS")


def _unescaped(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


def _is_formula(cell: str) -> bool:
    """Tell whether a cell begins with a formula, or with the sign of one that was made harmless."""
    return cell.lstrip("'").startswith(FORMULA)
