"""What became of a repetition, in words."""

from __future__ import annotations

from slm_lightning.lab.reproduce.bits import Comparison
from slm_lightning.lab.reproduce.reproduction import Reproduction
from slm_lightning.lab.reproduce.verify import Verified
from slm_lightning.lab.wording import count

SHOWN = 4
"""Columns of a row that differs that are shown."""


def text(found: Reproduction) -> str:
    """Bit-identical, or where the records part and what may be why."""
    compared = found.compared.values()
    if found.identical:
        return f"bit-identical: {_counted(list(compared))}"
    place, parted = found.parted
    equal = sum(c.identical for c in compared)
    lines = [f"{place} {difference(parted)}"]
    if equal:
        lines.append(f"{count(equal, 'other session')} bit-identical")
    lines += [f"likely reason: {reason}" for reason in found.reasons[:1]]
    lines += [f"else: {reason}" for reason in found.reasons[1:]]
    if not found.reasons:
        lines.append("nothing is known to have changed; does the environment repeat itself?")
    return "\n".join([*lines, f"the repetition is kept in {found.kept}"])


def verified(found: Verified) -> str:
    """What a session showed when it was computed again."""
    if found.comparison.identical:
        return f"{found.name} up to block {found.block} bit-identical: {_counted([found.comparison])}"
    doubt = [f"its numbers need not come again: {found.doubt}"] if found.doubt else []
    changed = [f"changed since: {change}" for change in found.changed]
    return "\n".join([f"{found.name} {difference(found.comparison)}", *doubt, *changed])


def difference(parted: Comparison) -> str:
    """Where two records part, and in which columns."""
    if not parted.parted:
        return f"differs: {parted.missing}"
    shown = [f"  {line}" for line in parted.parted[:SHOWN]]
    if len(parted.parted) > SHOWN:
        shown.append(f"  and {count(len(parted.parted) - SHOWN, 'other column')}")
    before = f"{count(parted.rows, 'row')} before it equal" if parted.rows else "its first row"
    return "\n".join([f"parts at {parted.where} ({before}):", *shown])


def _counted(compared: list[Comparison]) -> str:
    numbers, hashes = (sum(getattr(c, name) for c in compared) for name in ("numbers", "hashes"))
    found = f"{count(len(compared), 'session')}, {count(numbers, 'number')}"
    return f"{found}, {count(hashes, 'state')}" if hashes else f"{found}; no states were recorded"
