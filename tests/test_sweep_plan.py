"""The plan of a sweep: what may be swept, in which order, under which numbers and names."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from common.errors import UserError
from training.sweep_plan import (
    SEED,
    Axis,
    Plan,
    members_of,
    parse_seeds,
    parse_sweep,
    product,
    read_plan,
    with_seeds,
    write_plan,
)


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("ibgan.beta=[0.1,0.2]", [("ibgan.beta", ("0.1", "0.2"))]),
        ("a.b = [1, 2] ; c/d.e=[1e-4];", [("a.b", ("1", "2")), ("c/d.e", ("1e-4",))]),
        ("a.b=['x;y', \"z, [w\", 'it\\'s']", [("a.b", ("'x;y'", '"z, [w"', "'it\\'s'"))]),
        ("a.b=[('mig', 'sap'), ('mig',), ()]", [("a.b", ("('mig', 'sap')", "('mig',)", "()"))]),
        ("a.b=[[1, 2], {'k': (3, 4)}]", [("a.b", ("[1, 2]", "{'k': (3, 4)}"))]),
        ("a.b=[@ibgan(), %SIZE, None, -1.5]", [("a.b", ("@ibgan()", "%SIZE", "None", "-1.5"))]),
        ("a.b=0.3", [("a.b", ("0.3",))]),
        ("a.b=('mig', 'sap')", [("a.b", ("('mig', 'sap')",))]),
        ("SIZE=[1,2,]", [("SIZE", ("1", "2"))]),
    ],
)
def test_what_a_sweep_may_say(text: str, axes: list[tuple[str, tuple[str, ...]]]) -> None:
    assert [(axis.key, axis.values) for axis in parse_sweep([text])] == axes


def test_a_sweep_may_be_given_in_several_flags() -> None:
    assert parse_sweep(["a.b=[1,2]", "c.d=[3];e.f=[4]"]) == parse_sweep(["a.b=[1,2];c.d=[3];e.f=[4]"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "--sweep is empty"),
        ("ibgan.beta", r"'ibgan.beta' is not of the form key=\[value, value\]"),
        ("=[1]", "not of the form"),
        ("a b=[1]", "not of the form"),
        ("a.b=[]", "a.b has no values"),
        ("a.b=", "a.b has no values"),
        ("a.b=[1, 1]", "a.b has the value 1 twice"),
        ("a.b=[1e-4, 0.0001]", "twice"),
        ("a.b=[1];a.b=[2]", "a.b is given twice"),
        ("a.b=[small, large]", "'small', which is no gin literal; texts need quotes: 'small'"),
        ("a.b=[1 2]", "no gin literal"),
        ("a.b=[1, (2]", "closes nothing|is missing"),
        ("a.b=[1, 'x]", "is missing"),
        ("a.b=1]", "closes nothing"),
    ],
)
def test_what_a_sweep_may_not_say(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_sweep([text])


def test_seeds() -> None:
    assert parse_seeds("3") == (0, 1, 2)
    assert parse_seeds("3,5, 7") == (3, 5, 7)
    assert parse_seeds("3,") == (3,)
    for text in ("", ",", "x", "0", "-1", "1.5", "1,1", "99999999"):
        with pytest.raises(UserError, match="--seeds"):
            parse_seeds(text)
    with pytest.raises(UserError, match="is in --sweep and in --seeds"):
        with_seeds(parse_sweep([f"{SEED}=[1,2]"]), (0, 1))


def test_far_too_many_members_are_refused_before_they_are_made() -> None:
    axes = [Axis(f"a.{name}", tuple(map(str, range(1000)))) for name in "bcdef"]
    with pytest.raises(UserError, match="1,000,000,000,000,000 members"):
        product(axes)


def test_every_combination_once_the_seeds_slowest() -> None:
    axes = with_seeds(parse_sweep(["a.b=[1,2];c.d=['x','y']"]), (0, 5))
    bindings = [tuple(combination.items()) for combination in product(axes)]
    assert bindings[:3] == [
        ((SEED, "0"), ("a.b", "1"), ("c.d", "'x'")),
        ((SEED, "0"), ("a.b", "1"), ("c.d", "'y'")),
        ((SEED, "0"), ("a.b", "2"), ("c.d", "'x'")),
    ]
    assert [dict(b)[SEED] for b in bindings] == ["0"] * 4 + ["5"] * 4
    assert len(set(bindings)) == 8
    # More seeds only add to the end.
    assert product(with_seeds(parse_sweep(["a.b=[1,2];c.d=['x','y']"]), (0, 5, 6)))[:8] == product(axes)


def test_numbers_and_names_are_unique_and_stay_when_a_plan_grows() -> None:
    rng = random.Random(0)
    for _ in range(25):
        keys = rng.sample(["a.beta", "b/c.rate", "c/c.rate", "d.name", "e.f"], rng.randint(1, 4))
        values = {key: [repr(rng.choice([v, v / 3, str(v), (v, "x")])) for v in range(4)] for key in keys}
        smaller = [Axis(key, tuple(values[key][: rng.randint(1, 3)])) for key in keys]
        larger = [Axis(axis.key, tuple(values[axis.key])) for axis in rng.sample(smaller, len(smaller))]
        old = members_of(product(smaller))
        assert members_of(product(smaller)) == old
        grown = members_of(product(larger), old)
        assert grown[: len(old)] == old
        assert [member.index for member in grown] == list(range(len(grown)))
        assert len({member.name for member in grown}) == len(grown)
        wanted = {frozenset(combination.items()) for combination in product(larger)}
        assert {frozenset(member.bindings.items()) for member in grown} == wanted
        for member in grown:
            assert len(member.name) <= 96
            assert all(letter.isalnum() or letter in ".+-_" for letter in member.name)
        # The order in which options are given does not matter to a plan that is there.
        assert members_of(product(larger[::-1]), grown) == grown


def test_names_can_be_read() -> None:
    def name(*texts: str) -> str:
        return members_of(product(parse_sweep(texts)))[0].name

    assert name("ibgan.beta=[0.1]", "experiment.global_batch=[32]") == "000_beta-0.1_global_batch-32"
    assert name("discriminator/rmsprop.learning_rate=[1e-6]") == "000_discriminator-rmsprop.learning_rate-1e-6"
    assert name("a.rate=[1]", "b.rate=[2]") == "000_a.rate-1_b.rate-2"
    assert name("evaluation.metrics=[('mig', 'sap')]") == "000_metrics-mig-sap"
    assert name("traversal.low=[-3.0]") == "000_low--3.0"
    assert name("experiment.precision=['mixed_bfloat16']") == "000_precision-mixed_bfloat16"


def test_plans_that_are_no_growth_are_refused() -> None:
    old = members_of(product(parse_sweep(["a.b=[1,2,3]"])))
    with pytest.raises(UserError, match=r"2 members that this one lacks \(1: a.b = 2; 2: a.b = 3\).*--run_dir"):
        members_of(product(parse_sweep(["a.b=[1]"])), old)
    with pytest.raises(UserError, match=r"varies a.b, and this one a.b, c.d"):
        members_of(product(parse_sweep(["a.b=[1,2,3];c.d=[1]"])), old)
    assert members_of(product(parse_sweep(["a.b=[3,2,1.0,1]"])), old)[3].bindings == {"a.b": "1.0"}


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    members = tuple(members_of(product(parse_sweep(["a.b=[1,2]"]))))
    options = ({"a.b": 1, "x": [1], "only": None}, {"a.b": 2, "x": [1]})
    plan = Plan("name", ("a.gin",), (), members, options)
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    before = (tmp_path / "sweep.json").stat().st_mtime_ns
    write_plan(tmp_path, plan)
    assert (tmp_path / "sweep.json").stat().st_mtime_ns == before
    (tmp_path / "sweep.json").write_text('{"members": 3}')
    with pytest.raises(UserError, match="is damaged"):
        read_plan(tmp_path)
    assert read_plan(tmp_path / "nowhere") is None
