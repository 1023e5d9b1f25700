"""Specs in SLM Lab's form, by number, changed in places where no rule says what may come of it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

from slm_lightning.spec.load import copied
from tests.fuzz.dice import Dice, Keys
from tests.spec.slm_lab import environments, pairings
from tests.spec.slm_lab_oddities import oddities
from tests.spec.test_suggestions import misspelt
from tests.support import REPOSITORY

Place = tuple[Any, Any]
"""What holds a value, and the key or index that it has there."""


class Mutant(NamedTuple):
    """A spec file of which no more is known than that it is answered."""

    changes: tuple[str, ...]
    """What was done to it."""
    name: str
    """Of the file."""
    text: str


@functools.cache
def originals() -> tuple[str, ...]:
    """Specs as SLM Lab ships them, and those of this lab, as JSON."""
    ours = [
        spec
        for file in sorted((REPOSITORY / "specs").rglob("*.json"))
        for spec in json.loads(file.read_text()).values()
    ]
    theirs = pairings() | environments() | oddities()
    return tuple(json.dumps(spec) for spec in [*theirs.values(), *ours])


def mutant(number: int) -> Mutant:
    """File ``number``; every call gives an equal one."""
    dice = Dice(number)
    spec: Keys = json.loads(dice.choice(originals()))
    if dice.maybe(0.9) and isinstance(spec.get("meta"), dict):
        spec["meta"].pop("seed", None)
    if dice.maybe():
        changes = dice.choices(["borrow", "drop", "scale"], k=dice.randint(1, 4))
    else:
        changes = dice.choices(list(CHANGES), k=dice.choice([1, 1, 1, 2, 3, 5]))
    for change in changes:
        CHANGES[change](dice, spec)
    form = "yaml" if dice.maybe(0.3) else "json"
    text = yaml.safe_dump({"mutant": spec}) if form == "yaml" else json.dumps({"mutant": spec})
    if dice.maybe(0.1):
        changes.append("a slip in the text")
        text = slipped(dice, text)
    return Mutant(tuple(changes), f"spec.{form}", text)


def places(value: Any) -> list[Place]:
    """Whatever can be put in place of something else, at any depth."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value))
    return [place for key in keys for place in [(value, key), *places(value[key])]]


def anywhere(dice: Dice, spec: Keys, kinds: Any = object) -> Place | None:
    """A random place of a value of one type; None where there is none."""
    found = [(holder, key) for holder, key in places(spec) if isinstance(holder[key], kinds)]
    return dice.choice(found) if found else None


def section(dice: Dice, spec: Keys) -> Keys:
    """A random object, the spec itself included."""
    inner = [holder[key] for holder, key in places(spec)]
    return dice.choice([spec, *(value for value in inner if isinstance(value, dict))])


LONG = "9" * 5000
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1.5, 1e-300, 1e300, -1e300, 10**6, 10**12, 10**18),
    *(2**31, 2**63, 2**64, -(2**63), 10**400, float("nan"), "nan", "inf", "1e999", LONG),
    *("", " ", "0", "1e3", "-1", "true", "None", "auto", "${env}", "${", "x" * 10_000, "ü☃🐍"),
    *("\u202eabc", "a\0b", "a\nb", "../../etc/passwd", "os:system", "{0.__class__}", "%s%n"),
    *("PPO", "DQN", "Adam", "MLPNet", "relu", "CartPole-v1", "Pendulum-v1", "ALE/Pong-v5", "HydraDQN"),
    *([], {}, [[]], [None], [0], [1, "a"], [-1], [1e9], [[32, 8, 4]], [{}], [{"a": 1}], [1] * 2000),
    *({"": None}, {"name": None}, {"a": {}}, {"0": 1}, {"name": "Adam", "lr": 1e-3}, [[1] * 50] * 50),
    {"name": "linear_decay", "start_val": 1},
)
"""Values that some key may not be ready for."""
WORDS = ("seed", "sede", "Seed", "name", "type", "search", "", "ü☃", "a.b", "0", "__class__", "x" * 300)
DRAWN = ("agent.algorithm.gamma", "agent.net.hid_layers", "env.num_envs", "meta.seed", "x", "")
KINDS = ("uniform", "choice", "randint", "loguniform", "grid_search", "qrandint", "x", "")


def drop(dice: Dice, spec: Keys) -> None:
    holder = section(dice, spec)
    if holder:
        del holder[dice.choice(list(holder))]


def replace(dice: Dice, spec: Keys) -> None:
    if place := anywhere(dice, spec):
        place[0][place[1]] = copied(dice.choice(HOSTILE))


def misspell(dice: Dice, spec: Keys) -> None:
    """A key, or a text among the values."""
    if dice.maybe(0.3) and (place := anywhere(dice, spec, str)) and place[0][place[1]]:
        place[0][place[1]] = misspelt(place[0][place[1]], dice.randint(1, 3), dice)
        return
    holder = section(dice, spec)
    if key := dice.choice([*holder, ""]):
        holder[misspelt(key, dice.randint(1, 3), dice)] = holder.pop(key)


def add(dice: Dice, spec: Keys) -> None:
    said = [key for holder, key in places(spec) if isinstance(holder, dict)]
    section(dice, spec)[dice.choice([*WORDS, *said])] = copied(dice.choice(HOSTILE))


def scale(dice: Dice, spec: Keys) -> None:
    """A number many times as large, as small, negative, or as text."""
    if place := anywhere(dice, spec, (int, float)):
        value = place[0][place[1]]
        factors = [-1, 0.5, 1e-3, 10, 1000, 10**6, 10**9, 1e-30]
        place[0][place[1]] = str(value) if dice.maybe(0.2) else value * dice.choice(factors)


def move(dice: Dice, spec: Keys) -> None:
    """What stands at one place stands at another too."""
    one, other = anywhere(dice, spec), anywhere(dice, spec)
    if one and other:
        other[0][other[1]] = copied(one[0][one[1]])


def borrow(dice: Dice, spec: Keys) -> None:
    """A section, or a value, as another spec has it under that name."""
    other = json.loads(dice.choice(originals()))
    found = {key: holder for holder, key in places(other) if isinstance(holder, dict)}
    shared = [(holder, key) for holder, key in places(spec) if key in found]
    if shared:
        holder, key = dice.choice(shared)
        holder[key] = found[key][key]


def wrap(dice: Dice, spec: Keys) -> None:
    if place := anywhere(dice, spec):
        inner = place[0][place[1]]
        for _ in range(dice.choice([1, 1, 1, 2, 3, 10, 60, 70])):
            inner = [inner] if dice.maybe() else {dice.choice(["a", "name", "agent", ""]): inner}
        place[0][place[1]] = inner


def itself(dice: Dice, spec: Keys) -> None:
    """The whole spec within itself."""
    if place := anywhere(dice, spec):
        place[0][place[1]] = copied(spec)


def empty(dice: Dice, spec: Keys) -> None:
    if place := anywhere(dice, spec, (dict, list, str)):
        place[0][place[1]] = type(place[0][place[1]])()


def search(dice: Dice, spec: Keys) -> None:
    """Dimensions of any kind, over any key."""
    dimensions: Keys = {}
    for _ in range(dice.randint(1, 3)):
        key = dice.choice(DRAWN) + dice.choice(["__", "__", "_", "."]) + dice.choice(KINDS)
        dimensions[key] = copied(dice.choice([[0.1, 0.9], [2, 8], *HOSTILE]))
    spec["search"] = dimensions
    if isinstance(spec.get("meta"), dict) and dice.maybe():
        spec["meta"]["search"] = copied(dice.choice([{"sampler": "tpe"}, "RandomSearch", *HOSTILE]))


CHANGES: dict[str, Callable[[Dice, Keys], None]] = {
    change.__name__: change
    for change in (drop, replace, misspell, add, scale, borrow, move, wrap, itself, empty, search)
}


def slipped(dice: Dice, text: str) -> str:
    """A few characters away, others in their place, or the rest gone."""
    at = dice.randrange(len(text))
    match dice.choice(["cut", "gone", "put", "twice"]):
        case "cut":
            return text[:at]
        case "gone":
            return text[:at] + text[at + dice.randint(1, 4) :]
        case "put":
            return text[:at] + dice.choice(list('{}[]",:\\\0\t\n&*!%@`#-?|>\ufeff\u2028é☃')) + text[at:]
    return text[: at + dice.randint(1, 200)] + text[at:]
