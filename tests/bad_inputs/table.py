"""The table of bad inputs: every row with its cases, in order."""

from __future__ import annotations

import rows_adapters
import rows_configuration
import rows_data
import rows_files
import rows_gguf
import rows_hub
import rows_models
import rows_options
import rows_templates
import rows_tokenizers
import rows_values
import rows_weights
from cases import Row

_MODULES = (
    *(rows_weights, rows_values, rows_configuration, rows_templates, rows_tokenizers, rows_adapters),
    *(rows_files, rows_gguf, rows_hub, rows_data, rows_models, rows_options),
)
ROWS: tuple[Row, ...] = tuple(sorted((row for module in _MODULES for row in module.ROWS), key=lambda row: row.number))
