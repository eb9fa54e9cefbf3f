"""Where a chart's numbers come from: what its downloads and its caption say, so that a file can be traced back."""

import json
import re
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Provenance:
    """A run in six texts; `explained` is the next token or empty, `convention` the map, `version` that of eqlin."""

    model: str
    prompt: str
    explained: str
    dtype: str
    convention: str
    version: str

    @property
    def comments(self) -> list[str]:
        """One line for each text, as JSON, so that a prompt of several lines stays in one: `# prompt: "a\\nb"`."""
        return [f"# {f.name}: {json.dumps(getattr(self, f.name), ensure_ascii=False)}" for f in fields(self)]


# Of each text in a file name: enough to tell files apart, few enough for every file system.
MOST = {"model": 24, "prompt": 32, "explained": 12, "dtype": 10, "convention": 24, "version": 12}


def file_stem(provenance: Provenance, chart: str) -> str:
    """The chart and each text, joined by underscores: letters, digits, points and hyphens, at most 160 of them."""
    folder = re.split(r"[/\\]", provenance.model.rstrip("/\\"))[-1]  # where a model lies is nobody's business
    texts = {f.name: getattr(provenance, f.name) for f in fields(provenance)} | {"model": folder}
    parts = [_safe(chart, 40), *(_safe(text, MOST[name]) for name, text in texts.items())]
    return "_".join(part for part in parts if part)


def _safe(text: str, most: int) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:most].strip("-.")
