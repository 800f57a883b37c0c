"""Tables as files. A format is one small function from a table to the file's content.

csv, json and parquet carry the numbers as they are; markdown, latex and html are for people: rounded, with headings in
words and the best entries in bold.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from agents.errors import MissingExtraError
from tuning.errors import UsageError, did_you_mean
from tuning.files import make_room, whole_file
from tuning.results.readable import readable

Content = str | bytes


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")


def _json(table: pd.DataFrame) -> str:
    """A list of objects, one a row; what is missing is null."""
    return table.to_json(orient="records", indent=2, double_precision=15, force_ascii=False, date_format="iso") + "\n"


def _parquet(table: pd.DataFrame) -> bytes:
    try:
        return table.to_parquet(None, index=False)
    except ImportError as error:
        raise MissingExtraError("parquet", wanted="The format parquet", package="pyarrow") from error


def markdown(table: pd.DataFrame) -> str:
    """A table in GitHub's Markdown."""
    cells, bold, numeric = readable(table)
    text = cells.map(lambda cell: cell.replace("|", "\\|"))
    marked = text.where(~bold, "**" + text + "**")
    align = ["right" if is_number else "left" for is_number in numeric]
    return marked.to_markdown(index=False, disable_numparse=True, colalign=align) + "\n"


def _latex(table: pd.DataFrame) -> str:
    r"""A tabular environment; its document needs \usepackage{booktabs}."""
    return _styled(table, "latex", "textbf:--rwrap;").to_latex(hrules=True)


def _html(table: pd.DataFrame) -> str:
    return _styled(table, "html", "font-weight: bold;").to_html(table_attributes='border="0"') + "\n"


def _styled(table: pd.DataFrame, escape: str, style: str) -> "pd.io.formats.style.Styler":
    cells, bold, _ = readable(table)
    marks = bold.map(lambda best: style if best else "")
    styler = cells.style.apply(lambda _: marks, axis=None).hide(axis="index")
    return styler.format(escape=escape).format_index(escape=escape, axis="columns")


FORMATS: dict[str, Callable[[pd.DataFrame], Content]] = {
    "csv": _csv,
    "html": _html,
    "json": _json,
    "latex": _latex,
    "markdown": markdown,
    "parquet": _parquet,
}
SUFFIXES = {".csv": "csv", ".html": "html", ".json": "json", ".tex": "latex", ".md": "markdown", ".parquet": "parquet"}


def render(table: pd.DataFrame, fmt: str) -> Content:
    """The content of a file with this table.

    Args:
        table: any of this package's tables.
        fmt: a key of `FORMATS`.

    Returns:
        Text; bytes for parquet.

    Raises:
        UsageError: the format is unknown.
        MissingExtraError: the format needs a package that is not installed.
    """
    if fmt not in FORMATS:
        raise UsageError(f"{fmt!r} is no table format; {did_you_mean(fmt, FORMATS)}")
    return FORMATS[fmt](table)


def format_of(path: Path) -> str:
    """The format that a file's ending stands for.

    Raises:
        UsageError: none that is known.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path.name} does not say its format; end it with one of {', '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix.lower()]


def to_file(table: pd.DataFrame, fmt: str | None, path: Path | str) -> None:
    """Write a table, whole or not at all.

    Args:
        table: any of this package's tables.
        fmt: a key of `FORMATS`; None: what the file's ending stands for.
        path: the file; its folder is made where needed.

    Raises:
        UsageError: the format is unknown, or there can be no such file.
        MissingExtraError: the format needs a package that is not installed.
    """
    path = Path(path)
    content = render(table, format_of(path) if fmt is None else fmt)
    with whole_file(make_room(path)) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
