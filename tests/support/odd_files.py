"""Hypothesis strategies for files as no tool should write them: any type in any column, damaged, in other encodings.

    odd_files()      # (suffix, bytes)

The names of columns are those that the readers look for, so that what they find there is odd.
"""

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

NAMES = (
    *(
        "prompt",
        "vhat",
        "prompt_id",
        "messages",
        "value",
        "n_valid",
        "extra_info",
        "reward_model",
        "question",
        "answer",
    ),
    *("ground_truth", "pass_rate", "response_0", "eval_0", "pass_rate_rewards", "pass_rate_generations", "images"),
    *("choices", "A", "B", "input", "output", "gts", "score", "acc", "", "é", "x\x00y"),
)
BASES = (
    *(("question", "answer"), ("prompt", "answer"), ("prompt", "reward_model"), ("prompt", "vhat"), ("messages",)),
    *(("prompt", "reward_model", "response_0", "eval_0"), ("prompt", "pass_rate_rewards"), ("prompt", "pass_rate")),
    *(("input", "output", "gts", "score"), ("prompt_id", "prompt", "messages", "value"), ("question", "choices")),
)
TURNS = [{"role": "user", "content": "What is 2 + 2?"}]
TEXTS = (
    *("What is 2 + 2?", "4", "", " ", "1/0", "6/8", "nan", "1e999", "٣", "²", "\x00", "[]", "{}", "[null]", "<image>"),
    *('{"ground_truth": "4"}', json.dumps(TURNS), '[{"role": "user"}]', "{'a': 1}", "[" * 3000, "9" * 5000),
)
DEEP = "[" * 100_000 + "]" * 100_000
LINES = (
    *("{", "null", "NaN", "[]", "[[]]", "[{}]", '{"prompt": "\\ud800", "answer": "4"}', '{"q": [1e999]}', '{"": [1]}'),
    *("1" * 5000, DEEP, f'{{"question": "x", "answer": {DEEP}}}', '{"q": [true]}', '{"q": [0.5, null]}', "\x00"),
)
TURN_TYPE = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
GOOD_TYPES = {
    "prompt": TURN_TYPE,
    "messages": TURN_TYPE,
    "vhat": pa.list_(pa.float64()),
    "reward_model": pa.struct([("ground_truth", pa.string())]),
    "pass_rate_rewards": pa.list_(pa.float64()),
    "choices": pa.list_(pa.string()),
}
LEAVES = (
    *(pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.large_string()),
    *(pa.string_view(), pa.binary(), pa.binary(4), pa.decimal128(10, 2), pa.date32(), pa.time64("ns")),
    *(
        pa.timestamp("s"),
        pa.timestamp("us", "Nowhere/At_all"),
        pa.duration("us"),
        pa.dictionary(pa.int8(), pa.string()),
    ),
)

texts = st.sampled_from(TEXTS) | st.text(max_size=20)
floats = st.sampled_from([0.0, 0.5, 1.0, float("nan"), float("inf"), 2.0**60]) | st.floats()
scalars = st.none() | st.booleans() | floats | texts | st.sampled_from([0, 1, -1, 2**31, 2**63, 10**30])
values = st.recursive(
    scalars | st.just(TURNS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
types = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(lambda kind: pa.list_(kind, 2)),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
        st.dictionaries(st.sampled_from(("role", "content", *NAMES)), inner, max_size=3).map(
            lambda fields: pa.struct(list(fields.items()))
        ),
    ),
    max_leaves=3,
)


@st.composite
def odd_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file's suffix and content."""
    suffix = draw(st.sampled_from(["parquet", "parquet", "jsonl", "json", "csv", "txt"]))
    if suffix == "parquet":
        return suffix, draw(_damaged(_write_parquet(draw(tables()))))
    text = draw({"csv": _csv_texts(), "json": _json_texts()}.get(suffix, _lines()))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "latin-1"]))
    return suffix, draw(_damaged(text.encode(encoding, errors="replace")))


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table with any types in columns that the readers look for, some of them twice."""
    names = [*draw(st.sampled_from(BASES)), *draw(st.lists(st.sampled_from(NAMES), max_size=2))]
    n_rows = draw(st.integers(0, 3))
    columns = []
    for name in names:
        kind = draw(st.just(GOOD_TYPES.get(name, pa.string())) | types)
        cells = draw(st.lists(_cells(kind), min_size=n_rows, max_size=n_rows))
        columns.append(pa.array(cells, type=kind))
    return pa.Table.from_arrays(columns, names=names)


def _cells(kind: pa.DataType) -> st.SearchStrategy[Any]:
    return st.none() if pa.types.is_null(kind) else st.none() | _filled_cells(kind)


def _filled_cells(kind: pa.DataType) -> st.SearchStrategy[Any]:
    of = pa.types
    if of.is_fixed_size_list(kind):
        return st.lists(_cells(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    if of.is_list(kind):
        return st.lists(_cells(kind.value_type), max_size=2)
    if of.is_struct(kind):
        return st.fixed_dictionaries({field.name: _cells(field.type) for field in kind})
    if of.is_map(kind):
        return st.lists(st.tuples(texts, _cells(kind.item_type)), max_size=2)
    if of.is_boolean(kind):
        return st.booleans()
    if of.is_integer(kind):
        return st.integers(0, 127)
    if of.is_floating(kind):
        return st.floats(width=32)
    if of.is_decimal(kind):
        return st.decimals(0, 99, places=2, allow_nan=False)
    if of.is_date(kind):
        return st.dates()
    if of.is_time(kind):
        return st.times()
    if of.is_timestamp(kind) or of.is_duration(kind):
        return st.integers(-(2**62), 2**62)
    if of.is_fixed_size_binary(kind):
        return st.binary(min_size=4, max_size=4)
    return st.binary(max_size=6) if of.is_binary(kind) else texts


def _write_parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    try:
        pq.write_table(table, out)
    except (pa.ArrowException, ValueError):  # parquet cannot hold a struct without fields
        return b"PAR1"
    return out.getvalue()


@st.composite
def _rows(draw: st.DrawFn) -> dict[str, Any]:
    good = {
        "question": st.just(TEXTS[0]),
        "prompt": st.just(TURNS),
        "vhat": st.lists(floats, max_size=2),
        "score": floats,
    }
    names = [*draw(st.sampled_from(BASES)), *draw(st.lists(st.sampled_from(NAMES), max_size=2))]
    return {name: draw(good[name] | values if name in good else values) for name in names}


@st.composite
def _lines(draw: st.DrawFn) -> str:
    lines = draw(st.lists(_rows().map(json.dumps) | st.sampled_from(LINES), max_size=3))
    return draw(st.sampled_from(["\n", "\r\n", "\n\n"])).join(lines)


def _json_texts() -> st.SearchStrategy[str]:
    scores = st.dictionaries(texts, st.lists(floats | values, max_size=2), max_size=3)
    return st.lists(_rows(), max_size=3).map(json.dumps) | scores.map(json.dumps) | _lines()


@st.composite
def _csv_texts(draw: st.DrawFn) -> str:
    out = io.StringIO()
    header = [*draw(st.sampled_from(BASES)), *draw(st.lists(st.sampled_from(NAMES), max_size=2))]
    writer = csv.writer(out)
    writer.writerow(header)
    for _ in range(draw(st.integers(0, 3))):
        writer.writerow(draw(st.lists(texts, min_size=1, max_size=len(header) + 1)))
    return out.getvalue() + draw(st.sampled_from(["", '"', ',"x\n', "a\x00"]))


@st.composite
def _damaged(draw: st.DrawFn, content: bytes) -> bytes:
    kind = draw(st.sampled_from(["whole"] * 8 + ["cut", "changed", "longer"]))
    at = draw(st.integers(0, len(content))) if kind != "whole" else 0
    if kind == "whole":
        return content
    return content[:at] + {"cut": b"", "changed": b"\xff" + content[at + 1 :], "longer": b"\x00" + content[at:]}[kind]
