"""Parameterised notebooks: found, read, checked against what is asked of them, and executed.

The sources are MyST Markdown (``notebooks/NN_name.md``) with one cell tagged ``parameters``.
Nothing is started before every parameter is known to be right.
"""

from __future__ import annotations

from trustdd.notebooks.execution import NotebookFailed, execute, output_path
from trustdd.notebooks.parameters import (
    Parameter,
    changed,
    check_values,
    experiment_parameters,
    parse_assignments,
    read_parameters,
)
from trustdd.notebooks.preflight import check_experiments, profile_values
from trustdd.notebooks.source import (
    find_notebook,
    list_notebooks,
    notebook_title,
    read_notebook,
)

__all__ = [
    "NotebookFailed",
    "Parameter",
    "changed",
    "check_experiments",
    "check_values",
    "execute",
    "experiment_parameters",
    "find_notebook",
    "list_notebooks",
    "notebook_title",
    "output_path",
    "parse_assignments",
    "profile_values",
    "read_notebook",
    "read_parameters",
]
