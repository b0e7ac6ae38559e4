"""Runs notebooks, in full or with other parameters."""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.cli.command import ROOT

NOTEBOOKS = {path.stem: path for path in sorted(ROOT.glob("notebooks/*.ipynb"))}
KERNEL = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


def parameters_cell(notebook: NotebookNode) -> NotebookNode:
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    return cell


def parameters(notebook: NotebookNode) -> dict[str, Any]:
    """Return the values that the parameters cell assigns."""
    assigned = ast.parse(parameters_cell(notebook).source).body
    return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def shown(notebook: NotebookNode, mime: str) -> list[dict[str, str]]:
    """Return each output that has a rendering of a kind, in all its renderings."""
    return [output["data"] for output in outputs(notebook) if mime in output.get("data", {})]


def reduced(notebook: NotebookNode, values: Mapping[str, Any]) -> NotebookNode:
    """Return a copy whose parameters have other values."""
    notebook = copy.deepcopy(notebook)
    assert values.keys() <= parameters(notebook).keys()
    parameters_cell(notebook).source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in ``folder``, by this Python whatever kernels are registered, and keep what they show."""
    metadata = copy.deepcopy(notebook.metadata)
    manager = AsyncKernelManager()
    manager._kernel_spec = KernelSpec(argv=KERNEL, display_name="Python 3", language="python")
    resources = {"metadata": {"path": str(folder)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # more threads only slow a model this small down
        patch.setenv("PYTHONPATH", str(ROOT))
        NotebookClient(notebook, km=manager, timeout=1800, resources=resources, record_timing=False).execute()
    notebook.metadata = metadata  # which the kernel has filled with versions
