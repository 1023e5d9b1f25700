"""Keys of a spec that older versions of the lab do not have."""

from __future__ import annotations

from collections.abc import Iterable

from slm_lightning.spec.model import MetaParams


def unknown(keys: Iterable[str]) -> list[str]:
    """Those of ``keys``, as dotted paths, that section ``meta`` of this version does not have."""
    known = {f"meta.{name}" for name in MetaParams.model_fields}
    return [key for key in keys if key.startswith("meta.") and key not in known]
