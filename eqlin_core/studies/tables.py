"""The tables of a study: what stands in them, how they are kept while it runs, and how they end as one file each.

While a study runs, what was computed together is a *part*: one Parquet file a table, that of the prompts written last,
so that a part whose prompts are not there does not count. When all is there the parts become one file a table, their
rows in the order of the prompts. Of these, too, that of the prompts is written last, moved last and removed first:
while it is there, the files are what counts, and not the parts.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from eqlin_core import arguments
from eqlin_core.disk import sweep, write_whole
from eqlin_core.errors import EqlinError, InvalidValue

if TYPE_CHECKING:
    import pyarrow as pa

    from eqlin_core.studies.prompts import StudyPrompt

Found = TypeVar("Found")
Rows = dict[str, list[dict[str, Any]]]  # by table

PROMPTS = "prompts"
# What every row's numbers depend on, and the prompt that it is of.
KEY = {
    "model": "string",
    "revision": "string",
    "dtype": "string",
    "gated_path": "string",
    "attention": "string",
    "eqlin": "string",
    "key": "string",
}
# The columns of every table after those; a measure that was not asked for leaves its own empty.
COLUMNS: dict[str, dict[str, str]] = {
    PROMPTS: {
        "prompt": "string",
        "form": "string",
        "n_tokens": "int32",
        "error": "string",
        "seconds": "float64",
        "predicted": "string",
        "predicted_id": "int32",
        "logit": "float64",
        "log_probability": "float64",
        "entropy": "float64",
        "reconstruction": "float64",
        "forward": "float64",
        "exact": "bool",
        "bias_term": "float64",
        "bias_log_term": "float64",
    },
    "tokens": {
        "position": "int32",
        "token_id": "int32",
        "token": "string",
        "norm": "float64",
        "cosine": "float64",
        "term": "float64",
        "log_term": "float64",
        "sigma_1": "float64",
        "stable_rank": "float64",
        "fall": "float64",
    },
    "triplets": {
        "position": "int32",
        "rank": "int32",
        "sigma": "float64",
        "projection": "float64",
        "term": "float64",
        "writes": "list<string>",
        "writes_scores": "list<float64>",
        "reads": "list<string>",
        "reads_cosines": "list<float64>",
    },
    "layers": {
        "layer": "int32",
        "top": "string",
        "top_id": "int32",
        "predicted_rank": "int32",
        "predicted_log_probability": "float64",
        "norm": "float64",
        "attn_term": "float64",
        "mlp_term": "float64",
    },
    "heads": {"layer": "int32", "head": "int32", "term": "float64", "first_token_weight": "float64"},
    "methods": {"method": "string", "exact": "bool", "rank_agreement": "float64", "rank_agreement_rest": "float64"},
    "strengths": {
        "concept": "string",
        "strength": "float64",
        "log_probability": "float64",
        "random_log_probability": "float64",
        "divergence": "float64",
        "text": "string",
    },
}
# Tables of every measure, beside that of the prompts.
TABLES = tuple(COLUMNS)
# The part that a study's files become when more is asked of it.
_WHOLE = "whole"
# How often what another process moves meanwhile is looked for.
_LOOKS = 5


def name_of(folder: Path) -> str:
    """What a study's folder is called to people, also where it is given as "."."""
    return arguments.short(folder.resolve().name)


class Parts:
    """The folder of a study that runs: its parts, and the files that they become.

    ``given`` are the types of the columns that prompts bring along.
    """

    def __init__(self, folder: Path, given: Mapping[str, str]) -> None:
        self.folder, self.given = folder, dict(given)
        self._parts = folder / "parts"

    def resume(self, *, finished: bool) -> None:
        """Get ready to add to what is there; ``finished`` says whether it had ended as one file a table.

        Those files then become a part, the prompts' last; parts that the end left behind are removed first. Files of
        an end that was interrupted are left to be written again.
        """
        with self._writing():
            self._parts.mkdir(parents=True, exist_ok=True)
            sweep(self._parts)
            sweep(self.folder)
            if finished or not self._there():
                for file in self._parts.glob("*.parquet") if self._ended() else ():
                    if not file.name.startswith(f"{_WHOLE}."):
                        file.unlink()
                for table in (*TABLES[1:], PROMPTS):
                    if self._file(table).exists():
                        self._file(table).replace(self._parts / f"{_WHOLE}.{table}.parquet")
            else:
                for table in TABLES:
                    self._file(table).unlink(missing_ok=True)

    def add(self, rows: Rows) -> None:
        """Keep what was computed together, whole or not at all."""
        name = _name(rows[PROMPTS])
        for table in (*TABLES[1:], PROMPTS):
            if rows.get(table):
                self._write(self._parts / f"{name}.{table}.parquet", self._table(table, rows[table]))

    def keys(self) -> dict[tuple[str, str], str]:
        """Of every prompt that is there its sentence, empty where none failed, by (model, key)."""
        rows = self._of_prompts("model", "key", "error")
        return {(model, key): error or "" for model, key, error in rows}

    def require_same(self, prompts: Sequence[StudyPrompt]) -> None:
        """Raise InvalidValue where a prompt has the key of another one that is there."""
        there = dict(self._of_prompts("key", "prompt"))
        for one in prompts:
            if there.get(one.key, one.shown) != one.shown:
                raise InvalidValue(
                    f"The key {arguments.shown(one.key)} is that of another prompt in {name_of(self.folder)}: "
                    "give this one another key, or name another folder."
                )

    def _of_prompts(self, *columns: str) -> list[tuple[Any, ...]]:
        """Those columns of every prompt that is there, row by row."""

        def rows(tables: Sequence[pa.Table]) -> list[tuple[Any, ...]]:
            found = [[table.column(name).to_pylist() for name in columns] for table in tables]
            return [row for table in found for row in zip(*table, strict=True)]

        return self._looked(
            lambda: rows([self._read(self._file(PROMPTS), PROMPTS, columns)]),
            lambda: rows([self._read(self._part(part, PROMPTS), PROMPTS, columns) for part in self._there()]),
        )

    def end(self, order: Sequence[tuple[str, str]]) -> None:
        """Write one file a table, the rows in this order of (model, key); prompts that are not in it are left out."""
        with self._writing():
            for table in (*TABLES[1:], PROMPTS):
                slices = self._sorted(table, order)
                if slices or table == PROMPTS:
                    write_whole(self._file(table), _Ordered(self, table, slices))

    def _sorted(self, table: str, order: Sequence[tuple[str, str]]) -> list[tuple[str, int, int]]:
        """(part, first row, row after the last) of every prompt, in this order of (model, key)."""
        place = {of: n for n, of in enumerate(order)}
        found = [
            (place[of], part, start, stop)
            for part in self._there()
            if self._part(part, table).exists()
            for of, start, stop in _slices(self._read(self._part(part, table), table, ("model", "key")))
            if of in place
        ]
        return [(part, start, stop) for _, part, start, stop in sorted(found)]

    def clear(self) -> None:
        """Remove the parts: their rows are in the files. What somebody reads just then may stay, and does not count."""
        for file in self._parts.glob("*.parquet"):
            with contextlib.suppress(OSError):
                file.unlink()
        sweep(self._parts)
        with contextlib.suppress(OSError):
            self._parts.rmdir()

    def rows(self, table: str, order: Sequence[tuple[str, str]]) -> pa.Table:
        """All rows of a table, from its file, or from the parts that are there in this order of (model, key)."""
        return self._looked(lambda: self._in_files(table), lambda: self._in_parts(table, order))

    def _in_files(self, table: str) -> pa.Table:
        moved = self._part(_WHOLE, table)  # the others follow at once, or with the next start
        file = self._file(table) if self._file(table).exists() else moved
        return self.read(file, table) if file.exists() else self.schema(table).empty_table()

    def _in_parts(self, table: str, order: Sequence[tuple[str, str]]) -> pa.Table:
        import pyarrow as pa  # noqa: PLC0415

        place = {of: n for n, of in enumerate(order)}
        found = []
        for part in self._there():
            if self._part(part, table).exists():
                whole = self.read(self._part(part, table), table)
                found += [
                    (place[of], part, start, whole.slice(start, stop - start))
                    for of, start, stop in _slices(whole)
                    if of in place
                ]
        found.sort(key=lambda one: one[:3])
        return pa.concat_tables([rows for *_, rows in found]) if found else self.schema(table).empty_table()

    def _looked(self, in_files: Callable[[], Found], in_parts: Callable[[], Found]) -> Found:
        """What is in the files, or in the parts; again where a study that runs ends or begins meanwhile."""
        for _ in range(_LOOKS):
            ended = self._ended()
            with contextlib.suppress(FileNotFoundError):
                found = in_files() if ended else in_parts()
                if self._ended() == ended:
                    return found
        raise EqlinError(f"The tables in {name_of(self.folder)} are being moved: look again in a moment.")

    def schema(self, table: str) -> pa.Schema:
        """The columns of a table and their types."""
        import pyarrow as pa  # noqa: PLC0415

        types = {
            **dict.fromkeys(KEY, pa.string()),
            **{name: _type(kind) for name, kind in COLUMNS[table].items()},
        }
        if table == PROMPTS:
            types |= {name: _type(kind) for name, kind in self.given.items()}
        return pa.schema(list(types.items()))

    # ---- files -----------------------------------------------------------------------------------------------------

    def _file(self, table: str) -> Path:
        return self.folder / f"{table}.parquet"

    def _part(self, part: str, table: str) -> Path:
        return self._parts / f"{part}.{table}.parquet"

    def _ended(self) -> bool:
        """Whether the files are what counts, and not the parts."""
        return self._file(PROMPTS).exists()

    def _there(self) -> list[str]:
        """The names of the parts that count."""
        ending = f".{PROMPTS}.parquet"
        return sorted(file.name.removesuffix(ending) for file in self._parts.glob(f"*{ending}"))

    def _table(self, table: str, rows: list[dict[str, Any]]) -> pa.Table:
        import pyarrow as pa  # noqa: PLC0415

        return pa.Table.from_pylist(rows, schema=self.schema(table))

    def read(self, file: Path, table: str) -> pa.Table:
        """All of one of a table's files; one of an earlier start may lack columns that later prompts bring."""
        return self._read(file, table)

    def _read(self, file: Path, table: str, columns: Sequence[str] = ()) -> pa.Table:
        """Some columns of a file, or all that the table has. Raises EqlinError for what is none of a study's."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            found = pq.read_table(file, columns=list(columns) or None)
            return found.select(list(columns)) if columns else _with_columns(found, self.schema(table), self.given)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, KeyError) as error:
            way_out = ""
            if file.parent == self._parts:
                part = file.name.removesuffix(f".{table}.parquet")
                way_out = f": remove {part}.* from its folder parts, and its prompts are measured again"
            raise EqlinError(f"The table {table} in {name_of(self.folder)} cannot be read{way_out}.") from error

    def _write(self, path: Path, table: pa.Table) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        with self._writing():
            write_whole(path, lambda file: pq.write_table(table, file, compression="zstd"))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Within the context what the disk refuses is an EqlinError."""
        try:
            yield
        except OSError as error:
            said = arguments.short(error.strerror or str(error))
            raise EqlinError(f"The study in {name_of(self.folder)} cannot be written ({said}).") from error


class _Ordered:
    """Writes one table's file from slices of parts, a few of which are in memory at a time."""

    _MOST_PARTS, _MOST_ROWS = 64, 100_000

    def __init__(self, parts: Parts, table: str, slices: Sequence[tuple[str, int, int]]) -> None:
        self._parts, self._table, self._slices = parts, table, slices

    def __call__(self, file: Any) -> None:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        schema = self._parts.schema(self._table)
        read: dict[str, pa.Table] = {}  # those used last at the end
        waiting: list[pa.Table] = []
        rows = 0
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for part, start, stop in self._slices:
                whole = read.pop(part, None)
                if whole is None:
                    whole = self._parts.read(self._parts._part(part, self._table), self._table)
                read[part] = whole
                if len(read) > self._MOST_PARTS:
                    del read[next(iter(read))]
                waiting.append(whole.slice(start, stop - start))
                rows += stop - start
                if rows >= self._MOST_ROWS:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting, rows = [], 0
            writer.write_table(pa.concat_tables(waiting) if waiting else schema.empty_table())


def _slices(table: pa.Table) -> Iterator[tuple[tuple[str, str], int, int]]:
    """((model, key), first row, row after the last) of every prompt in a part's table."""
    names = list(zip(*(table.column(name).to_pylist() for name in ("model", "key")), strict=True))
    start = 0
    for n in range(1, len(names) + 1):
        if n == len(names) or names[n] != names[start]:
            yield names[start], start, n
            start = n


def _type(kind: str) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    if kind.startswith("list<"):
        return pa.list_(_type(kind[5:-1]))
    return pa.bool_() if kind == "bool" else getattr(pa, kind)()


def _with_columns(table: pa.Table, schema: pa.Schema, given: Mapping[str, str]) -> pa.Table:
    """A table with these columns: those that prompts bring may be missing, or of another type."""
    import pyarrow as pa  # noqa: PLC0415

    if table.schema.equals(schema):
        return table
    columns = [
        pa.nulls(len(table), field.type)
        if field.name in given and field.name not in table.column_names
        else table.column(field.name).cast(field.type, safe=field.name not in given)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _name(prompts: Sequence[Mapping[str, Any]]) -> str:
    """A name for a part: that of the models and prompts in it."""
    said = "\n".join(f"{row['model']} {row['key']}" for row in prompts)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
