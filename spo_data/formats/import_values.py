"""Import values that other tools estimated, as a folder like a run's.

    import_values("values.json", Path("runs/imported"))
    import_values("Cornell-AGI/gsm8k_size_qwen2.5_1.5b_eval", Path("runs/imported"))
    import_values("0.jsonl", Path("runs/imported"), training=PromptOptions("train.parquet"), model="Qwen3-8B")

The folder is a Hugging Face dataset that `load_values` reads: `values/`, `samples/` if responses are known, and a
card. What the source does not say is null, never a guess. Every row of the source becomes a draw of a prompt or is left
out and counted by reason; what cannot be true (a score outside [0, 1], a prompt with two ground truths) is refused,
naming file and row.

Reads `{prompt: [scores]}` JSON, `prompt` and `vhat`, our own tables, verl's validation dump (`readers.verl_dump`),
A*-PO's and open-r1's datasets, and verl's training rows as we export them (`readers.tables`).
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_data.files import appears_whole, check_free
from spo_data.formats.import_report import ImportReport, import_card
from spo_data.formats.load import load_values
from spo_data.formats.readers.draws import DrawStore, FoundPrompt, LeftOut
from spo_data.formats.readers.own_samples import check_samples
from spo_data.formats.readers.sources import SourceFiles, find_files
from spo_data.formats.readers.tables import ValueLayout, read_dataset, recognise_layout
from spo_data.formats.readers.verl_dump import Transcripts, read_dump, render_transcripts
from spo_data.hub.snapshot import README
from spo_data.options import PromptOptions
from spo_data.prompts.build import read_prompt_set
from spo_data.sqlite import clear_sqlite_errors
from spo_data.text import excerpt
from spo_data.values.parquet import ROW_GROUP, open_parquet, parquet_writer
from spo_data.values.schema import samples_schema, values_schema
from spo_data.values.scores import make_table
from spo_data.values.validate import check_values

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = {
    "own": "values of prompts",
    "dump": "verl's validation dump",
    "a-star-po": "A*-PO's responses and rewards",
    "open-r1": "open-r1's pass rates with responses",
    "pass-rate": "pass rates without scores",
    "verl": "verl's training rows, with a value and no scores",
}
"""What a source of each layout holds, for messages and the card."""
TABLE = "train-00000-of-00001.parquet"
DRAWS = "draws.sqlite"


def import_values(
    source: str,
    out: Path,
    *,
    revision: str | None = None,
    training: PromptOptions | None = None,
    model: str | None = None,
    value_column: str | None = None,
) -> ImportReport:
    """Read a file, glob, folder or Hub dataset, and write the folder `out`.

    `value_column` names the column of pass rates, if there are several or if it is called otherwise.
    `training` and `model` are the prompts and the model of a validation dump, whose inputs are then matched with them.
    """
    check_free(out)
    if (training is None) != (model is None):
        raise UserError("give --dataset and --model together: the model's chat template renders the training prompts")
    files = find_files(source, revision)
    layout = "dump" if files.format == ".jsonl" else "own"
    if value_column is not None and files.format != ".parquet":
        raise UserError(f"--value-column {value_column}: {source} is no parquet, and only tables have columns")
    columns = recognise_layout(files, value_column) if files.format == ".parquet" else None
    if columns is not None:
        layout = columns.name
    if training is not None and layout != "dump":
        raise UserError(f"{source} holds {NAMES[layout]}, with their prompts: --dataset and --model are only for dumps")
    if layout == "own":
        return _copy_own(files, out)
    known = None if training is None or model is None else _render_training_prompts(training, model)
    rows = read_dump(files.files, known) if columns is None else read_dataset(files, columns)
    return _write_folder(files, layout, rows, out, known, columns)


def _copy_own(files: SourceFiles, out: Path) -> ImportReport:
    import pyarrow.compute as pc

    folder = Path(files.source).expanduser()
    is_dataset = files.format == ".parquet" and (folder.is_dir() or files.revision is not None)
    if not is_dataset and len(files.files) > 1:
        raise UserError(f"{files.source} matches {len(files.files)} files: name one file, or the folder of one table")
    values = load_values(files.source if is_dataset else files.files[0].path, files.revision if is_dataset else None)
    if not len(values):
        raise UserError(f"{files.source} has no values (no rows)")
    samples = sorted(folder.glob("samples/*.parquet")) if folder.is_dir() else []
    if samples:
        check_samples(values, samples)
    lengths = Counter(length for length in pc.list_value_length(values.table.column("vhat")).to_pylist() if length)
    with appears_whole(out) as fresh:
        _write_values(values.table, values_schema(values.provenance, values.completeness), fresh)
        for path in samples:
            (fresh / "samples").mkdir(exist_ok=True)
            shutil.copyfile(path, fresh / "samples" / path.name)
        imported = ImportReport(
            files=files,
            layout="own",
            column="",
            folder=out,
            prompts=len(values),
            samples=sum(_count_rows(path) for path in samples),
            scores={n: lengths[n] for n in sorted(lengths, reverse=True)},
            ungraded=0,
            no_value=0,
            unfinished=values.unfinished,
            repeated=0,
            left_out={},
            example=None,
            unknown=_find_unknown_columns(values.table),
            is_joined=True,
        )
        (fresh / README).write_text(import_card(imported, NAMES["own"]), encoding="utf-8")
    return imported


def _write_folder(
    files: SourceFiles,
    layout: str,
    rows: Iterable[FoundPrompt | LeftOut],
    out: Path,
    known: Transcripts | None,
    columns: ValueLayout | None,
) -> ImportReport:
    provenance, completeness = (None, None) if columns is None else (columns.provenance, columns.completeness)
    left_out: Counter[str] = Counter()
    example = None
    with appears_whole(out) as fresh, clear_sqlite_errors(fresh / DRAWS, "written"):
        fresh.mkdir()
        with DrawStore(fresh / DRAWS) as store:
            for row in rows:
                if isinstance(row, LeftOut):
                    left_out[row.reason] += 1
                    example = example or row
                else:
                    store.add(row)
            table = make_table(store.value_rows())
            if not len(table):
                raise UserError(_describe_nothing(files.source, left_out, example, store, known))
            check_values(table, files.source)
            _write_values(table, values_schema(provenance, completeness), fresh)
            if store.n_responses:
                _write_samples(store.sample_rows(), samples_schema(provenance), fresh)
            imported = ImportReport(
                files=files,
                layout=layout,
                column="" if columns is None else columns.column,
                folder=out,
                prompts=len(table),
                samples=store.n_draws if store.n_responses else 0,
                scores=store.scores_a_prompt(),
                ungraded=store.count_ungraded(),
                no_value=store.without_value(),
                unfinished=0 if completeness is None else completeness.unfinished,
                repeated=len(store.repeated),
                left_out=dict(left_out),
                example=example,
                unknown=_find_unknown_columns(table),
                is_joined=layout != "dump" or known is not None,
            )
        (fresh / DRAWS).unlink()
        (fresh / README).write_text(import_card(imported, NAMES[layout]), encoding="utf-8")
    return imported


def _render_training_prompts(training: PromptOptions, model: str) -> Transcripts:
    from spo_data.models.chat import load_chat, read_chat_template
    from spo_data.models.names import resolve_model

    _, prompts = read_prompt_set(training)
    prompts.refuse_contradictions()
    template = read_chat_template(training.chat_template)
    return render_transcripts(
        prompts.prompts, load_chat(resolve_model(model), training.chat_template_kwargs, template=template)
    )


def _describe_nothing(
    source: str, left_out: Mapping[str, int], example: LeftOut | None, store: DrawStore, known: Transcripts | None
) -> str:
    reasons = [f"{count:,} rows {reason}" for reason, count in left_out.items()]
    if no_value := store.without_value():
        reasons.append(f"{no_value:,} prompts have no graded response")
    said = f"{source} has no values ({'; '.join(reasons) or 'no rows'})"
    if example is None or not known:
        return said
    return (
        f"{said}. The first unmatched input begins {excerpt(example.text)!r}, but the first training prompt is rendered"
        f" as {excerpt(next(iter(known)))!r}: check --model, --template, --system and --chat-template-kwargs"
    )


def _find_unknown_columns(table: "pa.Table") -> tuple[str, ...]:
    optional = ("n_disputed", "suspect_gold", "extra_info")
    return tuple(
        name for name in table.column_names if name not in optional and table.column(name).null_count == len(table)
    )


def _write_values(table: "pa.Table", schema: "pa.Schema", folder: Path) -> None:
    (folder / "values").mkdir(parents=True)
    with parquet_writer(folder / "values" / TABLE, schema) as writer:
        writer.write_table(table.cast(schema), row_group_size=ROW_GROUP)


def _write_samples(rows: Iterator[dict[str, Any]], schema: "pa.Schema", folder: Path) -> None:
    import pyarrow as pa

    (folder / "samples").mkdir()
    with parquet_writer(folder / "samples" / TABLE, schema) as writer:
        while group := list(islice(rows, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _count_rows(path: Path) -> int:
    with open_parquet(path) as file:
        return int(file.metadata.num_rows)
