"""The tables of a study: what stands in them, how they are kept while it runs, and how they end as one file each.

While a study runs, what was computed together is a *part*: one Parquet file a table, that of the prompts written last,
so that a part whose prompts are not there does not count. When all is there the parts become one file a table, their
rows in the order of the prompts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqlin_core.disk import sweep, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

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


class Parts:
    """The folder of a study that runs: its parts, and the files that they become.

    ``given`` are the types of the columns that prompts bring along.
    """

    def __init__(self, folder: Path, given: Mapping[str, str]) -> None:
        self.folder, self.given = folder, dict(given)
        self._parts = folder / "parts"

    def resume(self, *, finished: bool) -> None:
        """Get ready to add to what is there; ``finished`` says whether it had ended as one file a table.

        Those files then become a part, the prompts' last; files of an end that was interrupted are left to be written
        again.
        """
        self._parts.mkdir(parents=True, exist_ok=True)
        sweep(self._parts)
        sweep(self.folder)
        for table in (*TABLES[1:], PROMPTS):
            file = self.folder / f"{table}.parquet"
            if file.exists() and finished:
                file.replace(self._parts / f"whole.{table}.parquet")
            elif file.exists():
                file.unlink()

    def add(self, rows: Rows) -> None:
        """Keep what was computed together, whole or not at all."""
        name = _name(rows[PROMPTS])
        for table in (*TABLES[1:], PROMPTS):
            if rows.get(table):
                self._write(self._parts / f"{name}.{table}.parquet", self._table(table, rows[table]))

    def keys(self) -> dict[tuple[str, str], str]:
        """Of every prompt that is there its sentence, empty where none failed, by (model, key)."""
        found: dict[tuple[str, str], str] = {}
        names = ["model", "key", "error"]
        for table in self._of_prompts(names):
            columns = (table.column(name).to_pylist() for name in names)
            found |= {(model, key): error or "" for model, key, error in zip(*columns, strict=True)}
        return found

    def _of_prompts(self, columns: list[str]) -> Iterator[pa.Table]:
        import pyarrow.parquet as pq  # noqa: PLC0415

        if self._parts.exists():
            yield from (self._read(part, PROMPTS, columns) for part in self._there())
        elif (file := self.folder / f"{PROMPTS}.parquet").exists():
            yield pq.read_table(file, columns=columns)

    def end(self, order: Sequence[tuple[str, str]]) -> None:
        """Write one file a table, the rows in this order of (model, key); prompts that are not in it are left out."""
        for table in (*TABLES[1:], PROMPTS):
            slices = self._sorted(table, order)
            if slices or table == PROMPTS:
                write_whole(self.folder / f"{table}.parquet", _Ordered(self, table, slices))

    def _sorted(self, table: str, order: Sequence[tuple[str, str]]) -> list[tuple[str, int, int]]:
        """(part, first row, row after the last) of every prompt, in this order of (model, key)."""
        place = {of: n for n, of in enumerate(order)}
        found = [
            (place[of], part, start, stop)
            for part in self._there()
            for of, start, stop in self._slices(part, table)
            if of in place
        ]
        return [(part, start, stop) for _, part, start, stop in sorted(found)]

    def clear(self) -> None:
        """Remove the parts: their rows are in the files."""
        for file in self._parts.glob("*.parquet"):
            file.unlink()
        sweep(self._parts)
        self._parts.rmdir()

    def rows(self, table: str, order: Sequence[tuple[str, str]]) -> pa.Table:
        """All rows of a table, from its file, or from the parts that are there in this order of (model, key)."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        file = self.folder / f"{table}.parquet"
        if not self._parts.exists():
            return pq.read_table(file) if file.exists() else self.schema(table).empty_table()
        found = [self._read(part, table).slice(start, stop - start) for part, start, stop in self._sorted(table, order)]
        return pa.concat_tables(found) if found else self.schema(table).empty_table()

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

    def _there(self) -> list[str]:
        """The names of the parts that count."""
        ending = f".{PROMPTS}.parquet"
        return sorted(file.name.removesuffix(ending) for file in self._parts.glob(f"*{ending}"))

    def _table(self, table: str, rows: list[dict[str, Any]]) -> pa.Table:
        import pyarrow as pa  # noqa: PLC0415

        return pa.Table.from_pylist(rows, schema=self.schema(table))

    def _read(self, part: str, table: str, columns: list[str] | None = None) -> pa.Table:
        import pyarrow.parquet as pq  # noqa: PLC0415

        found = pq.read_table(self._parts / f"{part}.{table}.parquet", columns=columns)
        if columns is None:  # a part of an earlier start may lack columns that later prompts bring
            found = _with_columns(found, self.schema(table))
        return found

    def _slices(self, part: str, table: str) -> Iterator[tuple[tuple[str, str], int, int]]:
        """((model, key), first row, row after the last) of every prompt in a part's table."""
        if not (self._parts / f"{part}.{table}.parquet").exists():
            return
        columns = self._read(part, table, ["model", "key"])
        names = list(zip(*(columns.column(name).to_pylist() for name in ("model", "key")), strict=True))
        start = 0
        for n in range(1, len(names) + 1):
            if n == len(names) or names[n] != names[start]:
                yield names[start], start, n
                start = n

    def _write(self, path: Path, table: pa.Table) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        write_whole(path, lambda file: pq.write_table(table, file, compression="zstd"))


class _Ordered:
    """Writes one table's file from slices of parts, a few of which are in memory at a time."""

    _MOST_PARTS, _MOST_ROWS = 16, 100_000

    def __init__(self, parts: Parts, table: str, slices: Sequence[tuple[str, int, int]]) -> None:
        self._parts, self._table, self._slices = parts, table, slices

    def __call__(self, file: Any) -> None:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        schema = self._parts.schema(self._table)
        read: dict[str, pa.Table] = {}
        waiting: list[pa.Table] = []
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for part, start, stop in self._slices:
                if part not in read:
                    if len(read) >= self._MOST_PARTS:
                        del read[next(iter(read))]
                    read[part] = self._parts._read(part, self._table)
                waiting.append(read[part].slice(start, stop - start))
                if sum(map(len, waiting)) >= self._MOST_ROWS:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            writer.write_table(pa.concat_tables(waiting) if waiting else schema.empty_table())


def _type(kind: str) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    if kind.startswith("list<"):
        return pa.list_(_type(kind[5:-1]))
    return pa.bool_() if kind == "bool" else getattr(pa, kind)()


def _with_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415

    if table.schema.equals(schema):
        return table
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _name(prompts: Sequence[Mapping[str, Any]]) -> str:
    """A name for a part: that of the models and prompts in it."""
    said = "\n".join(f"{row['model']} {row['key']}" for row in prompts)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
