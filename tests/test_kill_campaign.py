"""The kill campaign: its scenarios, the moments it draws, and that it notices what a kill may break."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import random
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks import kill_campaign
from benchmarks.kill_checks import compare, contents, half_written, litter
from benchmarks.kill_scenarios import KINDS, Scenario, scenarios, write_inputs
from benchmarks.kill_sequences import Campaign, Course, Tally, Undisturbed
from benchmarks.turns import ROOT
from common.errors import UserError
from models import MODELS

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")

_BEGIN = "import json, os, sys, time\nfolder = sys.argv[1] + '/'\nprint('begin', flush=True)\n"
_FILES = "for name in [folder + f'{number}.json' for number in range(5)]:\n"
WHOLE = f"""{_BEGIN}{_FILES}
    with open(folder + '.partial', 'w') as handle:
        json.dump({{}}, handle)
    time.sleep(0.05)
    os.replace(folder + '.partial', name)
print('done')
"""
IN_PLACE = f"""{_BEGIN}{_FILES}
    with open(name, 'w') as handle:
        handle.write('{{')
        handle.flush()
        time.sleep(0.05)
        handle.write('}}')
print('done')
"""
FORGETFUL = f"""{_BEGIN}
with open(folder + 'starts', 'ab') as handle:
    handle.write(b'.')
time.sleep(0.2)
print(len(open(folder + 'starts').read()))
"""
LITTERING = f"""{_BEGIN}{_FILES}
    temporary = folder + f'.{{time.time_ns()}}.partial'
    open(temporary, 'w').close()
    time.sleep(0.05)
    os.remove(temporary)
print('done')
"""
STUBBORN = f"""{_BEGIN}
if os.path.exists(folder + 'started'):
    sys.exit('error: started before')
open(folder + 'started', 'w').close()
time.sleep(0.2)
os.remove(folder + 'started')
"""


def campaign(script: str, base: Path) -> Campaign:
    """The campaign of a small command that takes its folder."""
    scenario = Scenario("fake", "data", "a fake", ())
    return Campaign(scenario, base, 0, lambda folder, inputs: [sys.executable, "-S", "-c", script, str(folder)])


def test_a_command_that_writes_whole_files_survives(tmp_path: Path) -> None:
    told: list[int] = []
    tally = campaign(WHOLE, tmp_path).kill(8, lambda: told.append(1))
    assert tally.failures == []
    assert tally.kills == len(told) == 8
    assert 0 <= tally.before < 8
    assert tally.sequences >= 2
    assert 0.2 < tally.seconds < 60
    assert not list((tmp_path / "fake").glob("failed_*"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (IN_PLACE, "is not whole"),
        (FORGETFUL, "starts differs; its last line is "),
        (LITTERING, "is litter"),
        (STUBBORN, "ends with exit code 1: error: started before"),
    ],
)
def test_what_a_command_does_wrong_is_told(script: str, words: str, tmp_path: Path) -> None:
    tally = campaign(script, tmp_path).kill(12)
    assert tally.failures
    assert tally.failures[0].startswith("fake, seed 0, sequence ")
    assert any(words in line for line in tally.failures), tally.failures
    assert list((tmp_path / "fake").glob("failed_*"))


def test_a_command_that_fails_undisturbed_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fails undisturbed, with exit code 3"):
        campaign("import sys; sys.exit(3)", tmp_path).run_undisturbed()


def test_a_campaign_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys, time; time.sleep(0.4); print(sys.argv[1:])"
    fakes = {name: Scenario(name, "data", f"a {name}", ("-S", "-c", code, "{folder}")) for name in ("a", "b")}
    monkeypatch.setattr(kill_campaign, "scenarios", lambda: fakes)
    monkeypatch.setattr(kill_campaign, "write_inputs", lambda folder: None)
    flags = ["--kills=4", f"--folder={tmp_path}"]
    assert kill_campaign.main(flags) == 0
    first = capsys.readouterr()
    assert "finished before" not in first.err
    (tmp_path / "b" / "tally.json").unlink()
    assert kill_campaign.main(flags) == 0
    second = capsys.readouterr()
    assert "a: finished before" in second.err
    assert "b: finished before" not in second.err
    results = [json.loads(said.out.splitlines()[-1])["scenarios"] for said in (first, second)]
    assert results[0]["a"] == results[1]["a"]
    # On a busy machine a command may end before the moment of its kill comes.
    assert max(tally["kills"] for result in results for tally in result.values()) == 2
    assert kill_campaign.main([*flags, "--seed=1"]) == 0
    assert "finished before" not in capsys.readouterr().err


def test_moments_lie_within_the_undisturbed_run() -> None:
    undisturbed, rng = Undisturbed(10.0, 6.0, 30, {}, ""), random.Random(0)
    moments = [undisturbed.draw_moment(rng) for _ in range(2000)]
    values = {kind: [m.value for m in moments if m.kind == kind] for kind in ("start", "work", "write")}
    assert 0 <= min(values["start"]) < 0.1
    assert 9 < max(values["start"]) <= 10
    assert 0 <= min(values["work"]) < 0.1
    assert 3.8 < max(values["work"]) <= 4
    assert set(values["write"]) == set(range(1, 31))
    assert len(values["start"]) < len(moments) / 2
    again = random.Random(0)
    assert [undisturbed.draw_moment(again) for _ in range(2000)] == moments
    without = Undisturbed(1.0, 1.0, 0, {}, "")
    assert all(without.draw_moment(rng).kind != "write" for _ in range(100))


def test_moments_of_later_starts_lie_within_what_is_left() -> None:
    undisturbed, rng = Undisturbed(10.0, 6.0, 30, {}, ""), random.Random(0)
    done = undisturbed.share_of(Course(None, 9.0, 6.0, 20))
    assert done == pytest.approx(0.75)
    assert undisturbed.share_of(Course(None, 5.0, None, 0)) == 0
    moments = [undisturbed.draw_moment(rng, done) for _ in range(2000)]
    most = {kind: max(m.value for m in moments if m.kind == kind) for kind in ("start", "work", "write")}
    assert most["start"] == pytest.approx(7, abs=0.2)
    assert most["work"] == pytest.approx(1, abs=0.1)
    assert most["write"] == 8
    assert undisturbed.draw_moment(random.Random(0), 5.0)


def test_the_scenarios_are_what_there_is() -> None:
    known = scenarios()
    assert {scenario.kind for scenario in known.values()} == set(KINDS)
    assert {name for name, scenario in known.items() if scenario.kind == "training"} == set(MODELS)
    seen: set[str] = set()
    for name, scenario in known.items():
        assert scenario.needs <= seen
        seen.add(name)
        words = scenario.words(Path("folder"), Path("inputs"))
        assert any("folder" in word for word in words)
        assert not any("{folder}" in word or "{inputs}" in word for word in words)
        if words[0] == "-m":
            assert importlib.util.find_spec(words[1])
        else:
            assert (ROOT / words[0]).is_file()
        for word in words:
            if word.startswith("--gin_file="):
                assert (ROOT / word.removeprefix("--gin_file=")).is_file()
    assert set(kill_campaign.chosen("data,ibgan")) == {"ibgan", *(n for n, s in known.items() if s.kind == "data")}
    with pytest.raises(UserError, match="did you mean 'ibgan'"):
        kill_campaign.chosen("ibgam")


@pytest.mark.parametrize("kills", [1, 7, 100, 1000])
def test_kills_are_shared_out(kills: int) -> None:
    weights = {"a": 3, "b": 5, "c": 1}
    share = kill_campaign.shares(kills, weights)
    assert sum(share.values()) == kills
    assert all(abs(share.get(name, 0) - kills * weight / 9) <= 1 for name, weight in weights.items())


def test_inputs_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_inputs(tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def _whole_files() -> dict[str, bytes]:
    """One file of each kind that can be told from a half one without TensorFlow."""
    picture, archive = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(picture, "PNG")
    np.savez(archive, a=np.arange(100))
    array = io.BytesIO()
    np.save(array, np.arange(100))
    return {
        "a.json": json.dumps({"a": [1, 2]}).encode(),
        "a.png": picture.getvalue(),
        "a.npz": archive.getvalue(),
        "a.npy": array.getvalue(),
        "a.html": b"<html>\n</html>\n",
        "a.csv": b"a,b\n1,2,3,4\n",
    }


@pytest.mark.parametrize("name", list(_whole_files()))
def test_a_half_written_file_is_noticed(name: str, tmp_path: Path) -> None:
    data = _whole_files()[name]
    folder = tmp_path / ".hidden"
    folder.mkdir()
    (folder / name).write_bytes(data)
    assert half_written(folder) == []
    (folder / name).write_bytes(data[: len(data) // 2])
    assert [line.split()[0] for line in half_written(folder)] == [name]
    (folder / name).rename(folder / f".{name}.0.partial")
    assert half_written(folder) == []
    assert litter(folder) == [f".{name}.0.partial is litter"]


def test_a_line_that_is_cut_off_is_no_damage_but_one_in_the_middle_is(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"a": 1}\n{"a"')
    assert half_written(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"a"\n{"a": 1}\n')
    assert len(half_written(tmp_path)) == 1


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    for name, data in _whole_files().items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "timing.jsonl").write_text("{}\n")
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "events.1").touch()
    expected = contents(tmp_path)
    assert "events/events.1" not in expected
    (tmp_path / "timing.jsonl").write_text('{"a": 1}\n')
    assert compare(expected, contents(tmp_path)) == []
    changed = bytearray((tmp_path / "a.npz").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "a.npz").write_bytes(changed)
    (tmp_path / "a.csv").unlink()
    (tmp_path / "b.csv").touch()
    assert compare(expected, contents(tmp_path)) == ["a.csv is missing", "a.npz differs", "b.csv is left over"]


def test_keras_files_are_compared_without_their_time(tmp_path: Path) -> None:
    found = []
    for date, config in (("1", "a"), ("2", "a"), ("2", "b")):
        with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
            archive.writestr("metadata.json", date)
            archive.writestr("config.json", config)
        found.append(contents(tmp_path)["a.keras"])
    assert found[0] == found[1] != found[2]


def test_the_section_of_the_page() -> None:
    tallies = {
        "a": Tally("an a", 12.3, kills=10, before=2, at_writes=3, sequences=4, in_a_row=5),
        "b": Tally("a b", 2.0, kills=1, sequences=1, in_a_row=1, failures=["b, seed 0"]),
    }
    result = {
        "date": "2000-01-01",
        "command": "python -m benchmarks.kill_campaign",
        "seed": 0,
        "processor": {"name": "a processor", "cores": 4},
        "cores_used": 1,
        "python": "3.11",
        "versions": {"numpy": "2"},
    }
    text = kill_campaign.page_section(tallies, result)
    assert "11 kills in 5 sequences, 2 of them before" in text
    assert "**1 failure**" in text
    assert "| an a | 12 s | 10 | 2 | 8 | 3 | 4 | the same |" in text
    assert "| a b | 2 s | 1 | 0 | 1 | 0 | 1 | 1 FAILED |" in text


@pytest.mark.parametrize("flags", [["--kills=0"], ["--only=nothing"], ["--kill=3"]])
def test_bad_flags_are_refused(flags: list[str]) -> None:
    with pytest.raises(UserError):
        kill_campaign.main(flags)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        kill_campaign.main(["--help"])
    said = capsys.readouterr().out
    assert "--kills" in said
    assert "undisturbed" in said


def test_checkpoints_are_compared_by_their_tensors(tmp_path: Path) -> None:
    def digest_of(**variables: tf.Variable) -> str:
        tf.train.Checkpoint(**variables).write(str(tmp_path / "ckpt"))
        assert half_written(tmp_path) == []
        return contents(tmp_path)["ckpt.index"]

    one, two = tf.Variable([1.0, 2.0]), tf.Variable([3.0])
    expected = digest_of(a=one, b=two)
    assert digest_of(b=two, a=one) == expected
    assert digest_of(a=one, b=tf.Variable([4.0])) != expected
    assert digest_of(a=two, b=one) != expected
    # Keras numbers what it exports in an order of its own.
    exported = digest_of(_all_variables=[one, two])
    assert digest_of(_all_variables=[two, one]) == exported
    assert digest_of(_all_variables=[two, two]) != exported
    index = tmp_path / "ckpt.index"
    index.write_bytes(index.read_bytes()[:-20])
    assert [line.split()[0] for line in half_written(tmp_path)] == ["ckpt.index"]
