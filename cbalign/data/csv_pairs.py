"""CSV and TSV files: a header line, then one image path and caption per line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from cbalign.data.pairs import PairBuilder, PairFiles
from cbalign.data.sections.pairs import CsvSource
from cbalign.errors import DataError
from cbalign.parts import ItemKind

_LONGEST_VALUE = 16 << 20  # characters


def open_section(section: CsvSource, items: ItemKind) -> PairFiles:
    """Open the source that a section describes."""
    return open_csv(
        section.files, section.root, image=section.image, caption=section.caption, delimiter=section.delimiter
    )


def open_csv(files: Sequence[str | Path], root: str | Path, *, image: str, caption: str, delimiter: str) -> PairFiles:
    """Read CSV files, one after the other. Lines with the same path show the same image.

    Args:
        files: each with a header line.
        root: folder that image paths are relative to and cannot leave.
        image: name of the column with the path.
        caption: name of the column with the caption.
        delimiter: separator of columns.

    Raises:
        DataError: a file is missing or malformed, or a column or value is missing; the message names file and line.
    """
    pairs = PairBuilder(root, unit="line")
    for file in files:
        pairs.start_file(file)
        for line, path, text in _rows(file, image, caption, delimiter):
            pairs.add(line, path, [text])
    return pairs.finish()


def _rows(file: str | Path, image: str, caption: str, delimiter: str) -> Iterator[tuple[int, str, str]]:
    """Iterate over line number, path and caption of each row."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            header = next(reader, None)
            if header is None:
                raise DataError(f"{file}: the file is empty")
            columns = [_column(header, name, str(file)) for name in (image, caption)]
            csv.field_size_limit(max(_LONGEST_VALUE, csv.field_size_limit()))  # of the process; the default is 128 KiB
            for row in reader:
                if not row:
                    continue
                if len(row) <= max(columns):
                    raise DataError(f"{file}, line {reader.line_num}: {len(row)} columns, the header has {len(header)}")
                if any(row[len(header) :]):  # spreadsheets write empty ones, in which nothing is lost
                    raise DataError(
                        f"{file}, line {reader.line_num}: {len(row)} columns, the header has {len(header)}",
                        remedy=f"A value that contains the delimiter {delimiter!r} must be in double quotes.",
                    )
                path, text = (row[column] for column in columns)
                if not path:
                    raise DataError(f"{file}, line {reader.line_num}: column {image} is empty")
                yield reader.line_num, path, text
    except csv.Error as error:
        if "field limit" in str(error):
            raise DataError(
                f"{file}, line {reader.line_num}: a value has over {_LONGEST_VALUE >> 20} million characters",
                remedy="Probably a quote above is not closed.",
            ) from error
        raise DataError(
            f"{file}, line {reader.line_num}: not valid CSV ({error})",
            remedy="A value that begins with a quote must end with one, and quotes inside it must be doubled.",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 ({error.reason})", remedy="Save the file as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error


def _column(header: list[str], name: str, file: str) -> int:
    if header.count(name) > 1:
        raise DataError(
            f"{file}: the header names the column {name} {header.count(name)} times",
            remedy="Rename the columns, so that each has its own name.",
        )
    if name not in header:
        raise DataError(
            f"{file}: no column {name} in the header ({', '.join(header)})",
            remedy="Set image, caption and delimiter of the source to match the file.",
        )
    return header.index(name)
