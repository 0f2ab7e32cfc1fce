"""Store an index on disk: the content of each file, and one vector per content.

<cache>/
  index.sqlite     contents by SHA-256 with the row of their vector, files with their content, checksums of rows
  vectors.f32      rows of float32, append-only

A row is written and synced before the transaction that refers to it. A killed process leaves at most unreferenced rows,
which the next process overwrites. Several processes may use an index at the same time.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cbalign.apps.search.scan import Stamp
from cbalign.data.arrays import FloatArray
from cbalign.errors import DataError, StorageError

DATABASE, VECTORS = "index.sqlite", "vectors.f32"
_FORMAT = 1
_WAIT = 60.0  # seconds for another process's transaction

_SCHEMA = """
CREATE TABLE contents (sha256 BLOB PRIMARY KEY, row INTEGER UNIQUE, problem TEXT) WITHOUT ROWID;
CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER, sha256 BLOB) WITHOUT ROWID;
CREATE TABLE sums (row INTEGER PRIMARY KEY, crc32 INTEGER) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Content:
    """Content of a file: an image's vector (d,) or a problem; with neither, the content is already stored."""

    path: str
    stamp: Stamp
    sha256: bytes
    vector: FloatArray | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Contents:
    """The searchable images.

    `vectors` (N, d) is a memory map, `paths` lists the files of each row, `shown` (N,) is true for rows with a file.
    """

    vectors: FloatArray
    paths: Mapping[int, tuple[str, ...]]
    shown: NDArray[np.bool_]


class Store:
    """An open index. Use it as a context manager.

    Args:
        folder: folder of the index; created if missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / DATABASE, timeout=_WAIT, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the index in `folder`; a damaged one, or one of a different version, is recreated.

        Raises:
            StorageError: the index cannot be written, or another process keeps it locked.
        """
        try:
            return cls(folder)
        except _Damaged:
            with _errors(folder):
                for name in (DATABASE, f"{DATABASE}-journal", VECTORS):
                    (folder / name).unlink(missing_ok=True)
            return cls(folder)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def files(self) -> dict[str, tuple[Stamp, bytes]]:
        """Return the last known stamp and content of every file."""
        rows = self._select("SELECT path, size, modified, changed, sha256 FROM files JOIN contents USING (sha256)")
        return {os.fsdecode(path): (Stamp(*stamp), digest) for path, *stamp, digest in rows}

    def digests(self) -> set[bytes]:
        """Return the SHA-256 of every stored content."""
        return {digest for (digest,) in self._select("SELECT sha256 FROM contents")}

    def problems(self) -> dict[str, str]:
        """Return the problems of unusable files, by path."""
        rows = self._select(
            "SELECT path, problem FROM files JOIN contents USING (sha256) WHERE problem IS NOT NULL ORDER BY path"
        )
        return {os.fsdecode(path): problem for path, problem in rows}

    def contents(self) -> Contents:
        """Return the searchable images."""
        rows = self._select(
            "SELECT row, path FROM files JOIN contents USING (sha256) WHERE row IS NOT NULL ORDER BY row"
        )
        paths: dict[int, list[str]] = {}
        for row, path in rows:
            paths.setdefault(row, []).append(os.fsdecode(path))
        width, count = self._width(), self._rows()
        if not count:
            return Contents(np.empty((0, width), np.float32), {}, np.zeros(0, bool))
        vectors = np.memmap(self.folder / VECTORS, np.float32, "r", shape=(count, width))
        shown = np.zeros(count, bool)
        shown[list(paths)] = True
        return Contents(vectors, {row: tuple(sorted(names)) for row, names in paths.items()}, shown)

    def forget_problems(self, decoder: str) -> None:
        """Retry files that could not be decoded, if `decoder` (a name and version) has changed."""
        with self._transaction():
            if self._fact("decoder") != decoder:
                self._database.execute(
                    "DELETE FROM files WHERE sha256 IN (SELECT sha256 FROM contents WHERE row IS NULL)"
                )
                self._database.execute("DELETE FROM contents WHERE row IS NULL")
                self._database.execute("INSERT OR REPLACE INTO facts VALUES ('decoder', ?)", (decoder,))

    def add(self, found: Sequence[Content]) -> None:
        """Store the contents of files in one transaction."""
        with self._transaction():
            decided = {c.sha256: c for c in found if c.vector is not None or c.problem}
            fresh = {digest: content for digest, content in decided.items() if not self._knows(digest)}
            row = self._rows()
            vectors = [c.vector for c in fresh.values() if c.vector is not None]
            if vectors:
                self._append(row, np.stack(vectors))
                sums = [(row + i, zlib.crc32(np.asarray(v, np.float32).tobytes())) for i, v in enumerate(vectors)]
                self._database.executemany("INSERT OR REPLACE INTO sums VALUES (?, ?)", sums)
            for content in fresh.values():
                place = None if content.vector is None else row
                row += content.vector is not None
                self._database.execute(
                    "INSERT INTO contents VALUES (?, ?, ?)", (content.sha256, place, content.problem)
                )
            self._database.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                [(os.fsencode(c.path), c.stamp.size, c.stamp.modified, c.stamp.changed, c.sha256) for c in found],
            )

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files from the index; their contents stay, in case they were moved."""
        with self._transaction():
            self._database.executemany("DELETE FROM files WHERE path = ?", [(os.fsencode(path),) for path in paths])

    def _prepare(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with self._transaction():
                if not self._database.execute("SELECT 1 FROM sqlite_master").fetchone():
                    for statement in _SCHEMA.strip().split("\n"):
                        self._database.execute(statement)
                    self._database.execute(f"PRAGMA user_version = {_FORMAT}")
        elif version != _FORMAT:
            raise _Damaged(self.folder)
        path, named = self.folder / VECTORS, self._rows() * self._width() * 4  # first: another process may append
        if (path.stat().st_size if path.exists() else 0) < named:
            raise _Damaged(self.folder)
        self._forget_damaged()

    def _forget_damaged(self) -> None:
        """Forget the images whose vector differs from its checksum, so that they are encoded again.

        Indexes of earlier versions have no checksums; they get those of the vectors that they have.
        """
        with self._transaction():
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS sums (row INTEGER PRIMARY KEY, crc32 INTEGER) WITHOUT ROWID"
            )
            width, count = self._width(), self._rows()
            if not count:
                return
            vectors = np.memmap(self.folder / VECTORS, np.float32, "r", shape=(count, width))
            known = dict(self._database.execute("SELECT row, crc32 FROM sums").fetchall())
            used = [row for (row,) in self._database.execute("SELECT row FROM contents WHERE row IS NOT NULL")]
            found = {row: zlib.crc32(vectors[row].tobytes()) for row in used}
            new = [(row, crc32) for row, crc32 in found.items() if row not in known]
            self._database.executemany("INSERT INTO sums VALUES (?, ?)", new)
            damaged = [(row,) for row, crc32 in found.items() if known.get(row, crc32) != crc32]
            self._database.executemany(
                "DELETE FROM files WHERE sha256 IN (SELECT sha256 FROM contents WHERE row = ?)", damaged
            )
            self._database.executemany("DELETE FROM contents WHERE row = ?", damaged)
            self._database.executemany("DELETE FROM sums WHERE row = ?", damaged)

    def _append(self, row: int, vectors: FloatArray) -> None:
        width = vectors.shape[1]
        if row and width != self._width():
            raise DataError(f"{self.folder} holds vectors of width {self._width()}, not {width}")
        self._database.execute("INSERT OR REPLACE INTO facts VALUES ('width', ?)", (str(width),))
        path = self.folder / VECTORS
        with open(path, "r+b" if path.exists() else "w+b") as file:
            file.truncate(row * width * 4)
            file.seek(row * width * 4)
            file.write(np.ascontiguousarray(vectors, np.float32).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def _rows(self) -> int:
        ((count,),) = self._select("SELECT COALESCE(MAX(row) + 1, 0) FROM contents")
        return int(count)

    def _knows(self, digest: bytes) -> bool:
        return bool(self._select("SELECT 1 FROM contents WHERE sha256 = ?", digest))

    def _width(self) -> int:
        return int(self._fact("width") or 0)

    def _fact(self, name: str) -> str | None:
        rows = self._select("SELECT value FROM facts WHERE name = ?", name)
        return None if not rows else str(rows[0][0])

    def _select(self, statement: str, *values: str | bytes) -> list[tuple]:  # type: ignore[type-arg]
        with _errors(self.folder):
            return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _errors(self.folder):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


class _Damaged(StorageError):
    """The index is incomplete, or was not written by cbalign."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"the index in {folder} is damaged", remedy="Remove that folder and run the command again.")


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    """Convert errors of the system and SQLite to `StorageError`s that name the index."""
    remedy = "Choose a different folder for the index with --cache."
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise StorageError(
                f"another process is writing {folder}", remedy="Try again when it has finished."
            ) from error
        raise StorageError(f"{folder}: cannot be used for the index ({error})", remedy=remedy) from error
    except sqlite3.DatabaseError as error:
        raise _Damaged(folder) from error
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror or error})", remedy=remedy) from error
