"""Data files of a folder or of a data set on the hub, by split, as the ``datasets`` library finds them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import datasets
from datasets.packaged_modules.csv.csv import Csv
from datasets.packaged_modules.json.json import Json
from datasets.packaged_modules.parquet.parquet import Parquet
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from lightning_gft.data.files import COMPRESSED, KINDS, DataFile, suffix_of
from lightning_gft.errors import GFTValueError
from lightning_gft.hub import hub_or_cache

Splits = dict[str, Sequence[DataFile] | datasets.Dataset]
"""Sources of the rows of each split: files that this package reads, or a data set that the library has read."""

_READ_HERE = {Csv: "csv", Json: "json", Parquet: "parquet"}
_OPTIONS = {"csv": {"sep": "delimiter", "quotechar": "quotechar"}, "json": {"field": "field"}, "parquet": {}}
"""Options of a data set's card that are supported, and their names in this package."""
_WITHOUT_EFFECT = ("name", "version", "data_dir", "data_files", "description", "features", "chunksize", "delimiter")
"""Options of a card that do not affect the rows."""

_SHARD = re.compile(r"-\d+-of-(\d+)")


def find_in_folder(folder: Path, name: str | None) -> Splits:
    """Return the splits of a folder of data files."""
    return _files(datasets.load_dataset_builder(str(folder), name))


def find_on_hub(path: str, name: str | None, where: str) -> Splits:
    """Return the splits of a data set on the hub or in its cache, with their files downloaded."""
    with hub_or_cache() as offline:
        try:
            if offline:
                return _check_shards(_files(datasets.load_dataset_builder(_cached(path), name)))
            return _files(datasets.load_dataset_builder(path, name))
        except (LocalEntryNotFoundError, FileNotFoundError, PermissionError) as error:
            if offline:
                raise FileNotFoundError(
                    f"{where}: expected a local path or a data set in the cache, got neither, and {offline}"
                ) from error
            raise FileNotFoundError(
                f"{where}: expected a local path or a data set on the hub, got neither ({_summarise(error)}); correct "
                "the name; for a private or gated data set, request access on its page and log in with "
                "`hf auth login` or HF_TOKEN"
            ) from error
        except MemoryError:
            raise
        except Exception as error:  # the libraries and two HTTP clients have no common base class of errors
            raise GFTValueError(
                f"{where}: expected a data set that can be loaded from the hub, got: {_summarise(error)}"
            ) from error


def _cached(path: str) -> str:
    return str(snapshot_download(path, repo_type="dataset", local_files_only=True))


def _check_shards(splits: Splits) -> Splits:
    """Raise an error if the cache has only some of a split's shards, as after an interrupted download."""
    for split, files in splits.items():
        shards = [match for file in files if isinstance(file, DataFile) and (match := _SHARD.search(file.path.name))]
        if shards and len(shards) < int(shards[0][1]):
            raise GFTValueError(
                f"{split!r}: expected {int(shards[0][1])} files in the cache, got {len(shards)}; load it online once"
            )
    return splits


def _summarise(error: Exception) -> str:
    return " ".join(f"{error}".split())


def _files(builder: datasets.DatasetBuilder) -> Splits:
    kind = next((kind for read, kind in _READ_HERE.items() if isinstance(builder, read)), None)
    if kind is None:
        builder.download_and_prepare()
        return {str(split): rows for split, rows in builder.as_dataset().items()}
    options = _options(builder.config, kind)
    paths = datasets.DownloadManager().download(builder.config.data_files)
    return {str(split): _data_files([Path(path) for path in found], kind, options) for split, found in paths.items()}


def _data_files(paths: Sequence[Path], kind: str, options: Mapping[str, Any]) -> list[DataFile]:
    for path in paths:
        if kind != "parquet" and suffix_of(path) not in KINDS:
            raise GFTValueError(
                f"{path.name}: expected one of {', '.join(KINDS)}, or that and {', '.join(COMPRESSED)}, got "
                f"{path.suffix or 'no suffix'}; decompress the file, or give others by a local path"
            )
    suffixes = {suffix_of(path) for path in paths}
    if len(suffixes) == 1 or kind != "csv":
        return [DataFile(path, kind, options) for path in paths]
    # The library uses one separator for .csv and .tsv files together, by the more frequent suffix.
    shared = {name: value for name, value in options.items() if (name, value) != ("delimiter", "\t")}
    return [replace(file, options={**file.options, **shared}) for file in map(DataFile.of, paths)]


def _options(config: datasets.BuilderConfig, kind: str) -> dict[str, Any]:
    """Return the options of a data set's card, and raise an error for unsupported ones that affect the rows."""
    plain = type(config)()
    set_here = {
        option.name: value
        for option in fields(config)
        if (value := getattr(config, option.name)) != getattr(plain, option.name) and option.name not in _WITHOUT_EFFECT
    }
    followed = _OPTIONS[kind]
    if unknown := [option for option in set_here if option not in followed]:
        raise GFTValueError(
            f"the data set's card: expected to set {', '.join(followed) or 'no option'} alone, got "
            f"{', '.join(f'{option}={set_here[option]!r}' for option in unknown)}; give its files by a local path"
        )
    return {followed[option]: value for option, value in set_here.items()}
