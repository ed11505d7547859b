"""The mode select: which runs it takes, the matrix and the rankings, and that nothing is measured twice."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_runs

import run
from common.errors import UserError
from common.locks import locked
from metrics.model_centrality import CentralityModel
from metrics.udr import dlib_udr_lasso, dlib_udr_spearman
from models.latents import Categorical, LatentSpace, Normal, Uniform
from models.noise import Noise
from training.experiment import Experiment
from training.options import Configuration
from training.run_folder import WEIGHTS
from training.select import SelectionFlags, select
from training.selection_images import PRESETS, Encoder, Protocol, centrality_model, code_columns, encoder_of
from training.selection_runs import Run, differing_options, find_runs, kept_scores, read_runs, restore_runs
from training.selection_scores import KeptScores

SMALL = Protocol(groups_per_code=6, group_size=20, spread_images=70, real_images=90)
STEPS = {"a": 80, "b": 70, "c": 60}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished runs: one of 80 steps, and what it was after 70 and 60, as if it had been told to end there."""
    finished = tiny_runs.finished_run(tmp_path_factory)
    folder = tmp_path_factory.mktemp("select") / "runs"
    for name, steps in STEPS.items():
        copy = tiny_runs.copy_of(finished, folder / name)
        for path in (copy / "checkpoints" / "last").glob("ckpt-*"):
            if int(path.name[5:7]) > steps:
                path.unlink()
        for file, key in (("result.json", "step"), ("options.json", "total_steps")):
            data = json.loads((copy / file).read_text())
            (data if key == "step" else data["experiment"])[key] = steps
            (copy / file).write_text(json.dumps(data))
    (folder / "logs").mkdir()
    (folder / "summary.md").touch()
    return folder


@pytest.fixture
def own_runs(runs: Path, tmp_path: Path) -> Path:
    """A copy of them that a test may change."""
    shutil.copytree(runs, tmp_path / "runs")
    return tmp_path / "runs"


_EXPERIMENTS: dict[str, Experiment] = {}
_FUNCTIONS: dict[tuple[int, Protocol | None], Any] = {}


def restore_once(runs: Sequence[Run], configurations: Sequence[Configuration], checkpoint: str) -> list[Experiment]:
    """The runs' models; each is restored only once for all tests, by the name of its folder."""
    for one, configuration in zip(runs, configurations, strict=True):
        if one.path.name not in _EXPERIMENTS:
            _EXPERIMENTS[one.path.name] = restore_runs([one], [configuration], checkpoint)[0]
    return [_EXPERIMENTS[one.path.name] for one in runs]


def compile_once(name: str, experiment: Experiment, encode: Encoder, protocol: Protocol) -> CentralityModel:
    """The run's images and encoder; each function is compiled only once for all tests."""
    model = centrality_model(name, experiment, encode, protocol)
    return replace(_FUNCTIONS.setdefault((id(experiment.model), protocol), model), name=name, encode=encode)


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes the preset fast tiny; gives the names of the runs whose encoders were called, once for each call."""
    found: list[str] = []

    def counting(name: str, experiment: Experiment, batch: int) -> Encoder:
        encode = _FUNCTIONS.setdefault((id(experiment.model), None), encoder_of(name, experiment, batch))

        def counted(images: np.ndarray) -> np.ndarray:
            found.append(name)
            return encode(images)

        return counted

    monkeypatch.setitem(PRESETS, "fast", SMALL)
    monkeypatch.setattr("training.select.restore_runs", restore_once)
    monkeypatch.setattr("training.select.encoder_of", counting)
    monkeypatch.setattr("training.select.centrality_model", compile_once)
    return found


def flags(runs: Path, out: Path | None = None, pattern: str = "*", **more: Any) -> SelectionFlags:
    return SelectionFlags((f"{runs}/{pattern}",), str(out) if out else None, preset="fast", **more)


def selected(capsys: pytest.CaptureFixture[str], given: SelectionFlags) -> dict[str, Any]:
    assert select(given) == 0
    return tiny_runs.last_json(capsys.readouterr().out)


# The matrix and the rankings.


@pytest.fixture
def selection(runs: Path, tmp_path_factory: pytest.TempPathFactory, calls: list[str]) -> Path:
    """The results of one selection, made once for all tests; nobody may change them."""
    out = runs.parent / "selection"
    if not (out / "report.html").is_file():
        assert select(flags(runs, out)) == 0
        calls.clear()
    return out


def test_what_a_selection_leaves(selection: Path) -> None:
    assert {path.name for path in selection.iterdir()} == {
        *("pairs.json", "selection.json", "scores.npz", "scores.csv", "matrix.png", "ranking.png", "report.html"),
    }
    summary = json.loads((selection / "selection.json").read_text())
    assert (summary["family"], summary["checkpoint"], summary["preset"]) == ("IBGAN", "last", "fast")
    assert summary["best"] == summary["ranking"][0]["name"]
    assert {row["name"]: row["step"] for row in summary["ranking"]} == STEPS
    assert any("Preset fast: 6 groups of 20" in note for note in summary["notes"])
    html = (selection / "report.html").read_text()
    assert html.count("data:image/png") == 2
    assert "experiment.total_steps" in html
    assert "experiment.model.beta" not in html


def test_the_ranking_worked_by_hand_from_the_saved_matrix(selection: Path) -> None:
    arrays = np.load(selection / "scores.npz")
    matrix, names = arrays["scores"].tolist(), arrays["names"].tolist()
    assert names == ["a", "b", "c"]
    central = []
    for i in range(3):
        others = [j for j in range(3) if j != i]
        central.append(sum((matrix[i][j] + matrix[j][i]) / 2 for j in others) / len(others))
    order = sorted(range(3), key=lambda i: (-central[i], i))
    assert arrays["centralities"].tolist() == pytest.approx(central)
    assert arrays["ranking"].tolist() == order
    summary = json.loads((selection / "selection.json").read_text())
    assert [row["name"] for row in summary["ranking"]] == [names[i] for i in order]
    assert [row["centrality"] for row in summary["ranking"]] == pytest.approx([central[i] for i in order])
    assert [row["rank"] for row in summary["ranking"]] == [1, 2, 3]
    assert summary["scores"] == matrix
    rows = list(csv.reader((selection / "scores.csv").open()))
    assert [[float(cell) for cell in row[1:]] for row in rows[1:]] == matrix
    assert len({cell for row in matrix for cell in row}) > 2


def test_a_score_worked_from_the_model_itself(runs: Path, selection: Path) -> None:
    """The published vote, written out: the encoder of b on images of a."""
    generator, encoder = _EXPERIMENTS["a"].model, _EXPERIMENTS["b"].model
    rng = np.random.default_rng(0)

    def draw(count: int) -> np.ndarray:
        return np.array(generator.sample_latents(count, Noise(int(rng.integers(2**31)), 0)))

    def codes(latents: np.ndarray) -> np.ndarray:
        return np.array(encoder.encode(generator.generate(latents)))

    groups: list[np.ndarray] = []
    for group in range(2 * SMALL.groups_per_code):
        latents = draw(20)
        latents[:, group % 2] = draw(1)[0, group % 2]
        groups.append(codes(latents))
    spread = np.concatenate([codes(draw(20)), codes(draw(20)), codes(draw(20)), codes(draw(10))]).std(axis=0)
    assert (spread > 0).all()
    votes = np.zeros((2, 2))
    for number, members in enumerate(groups):
        votes[int((members.var(axis=0) / spread**2).argmin()), number % 2] += 1
    arrays = np.load(selection / "scores.npz")
    assert arrays["scores"][1, 0] == pytest.approx(votes.max(axis=1).sum() / votes.sum())


def test_udr_is_that_of_the_same_real_images(runs: Path, selection: Path) -> None:
    from metrics.protocols import generator

    experiments = [_EXPERIMENTS[name] for name in STEPS]
    data = experiments[0].dataset
    indices = np.sort(generator(0, "udr").choice(data.num_examples, 90, replace=False))
    images = data.images_at(indices) / np.float32(255)
    codes = [np.array(experiment.model.encode(images)) for experiment in experiments]
    arrays = np.load(selection / "scores.npz")
    np.testing.assert_allclose(arrays["dlib_udr_lasso_scores"], dlib_udr_lasso(codes).model_scores, atol=1e-3)
    np.testing.assert_allclose(arrays["dlib_udr_spearman_scores"], dlib_udr_spearman(codes).model_scores, atol=1e-3)


def test_supervised_scores_are_those_of_the_same_weights(selection: Path) -> None:
    """Only the run of 80 steps was measured at its end."""
    rows = {row["name"]: row for row in json.loads((selection / "selection.json").read_text())["ranking"]}
    assert set(rows["a"]["scores"]) == {"ibgan_factor_vae"}
    assert rows["a"]["scores_preset"] == "fast"
    assert (rows["b"]["scores"], rows["b"]["scores_preset"]) == ({}, None)


def test_only_options_that_differ_are_shown(own_runs: Path) -> None:
    options = json.loads((own_runs / "a" / "options.json").read_text())
    options["experiment"]["model"]["beta"] = 0.5
    (own_runs / "a" / "options.json").write_text(json.dumps(options))
    found = differing_options(read_runs(find_runs([f"{own_runs}/*"]), False))
    assert found == ["experiment.model.beta", "experiment.total_steps"]


# Going on.


def test_nothing_is_measured_twice_and_a_run_may_join(
    runs: Path, selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], calls: list[str]
) -> None:
    out = tmp_path / "out"
    first = selected(capsys, flags(runs, out, "[ab]"))
    kept = json.loads((out / "pairs.json").read_text())
    assert len(kept) == 4
    own_parts = 2 * SMALL.groups_per_code + -(-SMALL.spread_images // SMALL.group_size)
    udr_parts = -(-SMALL.real_images // SMALL.group_size)
    assert {name: calls.count(name) for name in "ab"} == dict.fromkeys("ab", 2 * own_parts + udr_parts)

    calls.clear()
    joined = selected(capsys, flags(runs, out))
    # Encoders that were there see the new images only; the new one sees all.
    expected = {"a": own_parts, "b": own_parts, "c": 3 * own_parts}
    assert {name: calls.count(name) - udr_parts for name in "abc"} == expected
    assert np.array(joined["scores"])[:2, :2].tolist() == first["scores"]
    assert joined["scores"] == json.loads((selection / "selection.json").read_text())["scores"]
    assert json.loads((out / "pairs.json").read_text()).items() >= kept.items()

    calls.clear()
    assert select(flags(runs, out)) == 0
    assert calls == [name for name in "abc" for _ in range(udr_parts)]
    assert "9 of 9 pairs were measured before" in capsys.readouterr().err


def test_a_selection_that_was_killed_goes_on(
    runs: Path, selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    written: list[tuple[str, str]] = []
    real = KeptScores.__setitem__

    def dies(self: KeptScores, pair: tuple[str, str], score: float) -> None:
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(pair)
        real(self, pair, score)

    with monkeypatch.context() as patch:
        patch.setattr(KeptScores, "__setitem__", dies)
        with pytest.raises(KeyboardInterrupt):
            select(flags(runs, out))
    assert len(json.loads((out / "pairs.json").read_text())) == 5
    resumed = selected(capsys, flags(runs, out))
    whole = json.loads((selection / "selection.json").read_text())
    assert resumed["scores"] == whole["scores"]
    assert resumed["degenerate"] == whole["degenerate"]
    assert json.loads((out / "pairs.json").read_text()) == json.loads((selection / "pairs.json").read_text())


def test_what_changed_is_measured_anew(tmp_path: Path) -> None:
    def kept(identities: dict[str, str], protocol: Protocol = SMALL) -> KeptScores:
        return KeptScores(tmp_path / "pairs.json", identities, protocol)

    scores = kept({"a": "1", "b": "2"})
    scores.remarks["a", "b"] = ("dead",)
    scores["a", "b"] = 0.25
    scores["a", "a"] = 0.5
    again = kept({"a": "1", "b": "2"})
    assert dict(again) == {("a", "b"): 0.25, ("a", "a"): 0.5}
    assert again.remarks["a", "b"] == ["dead"]
    assert dict(kept({"renamed": "1", "b": "2"})) == {("renamed", "b"): 0.25, ("renamed", "renamed"): 0.5}
    assert dict(kept({"a": "1", "b": "trained on"})) == {("a", "a"): 0.5}
    assert not kept({"a": "1", "b": "2"}, Protocol(seed=1))
    # How many real images UDR looks at changes no pair.
    assert len(kept({"a": "1", "b": "2"}, Protocol(6, 20, 70, 91))) == 2
    del again["a", "b"]
    assert ("a", "b") not in again
    (tmp_path / "pairs.json").write_text("[1]")
    with pytest.raises(UserError, match="is damaged; remove it"):
        kept({"a": "1"})


def test_another_checkpoint(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = []

    def restore(found: Sequence[Run], configurations: Sequence[Configuration], checkpoint: str) -> list[Experiment]:
        wanted.append(checkpoint)
        # The best of all three is that of the same training.
        return [_EXPERIMENTS["a"]] * len(found)

    monkeypatch.setattr("training.select.restore_runs", restore)
    summary = selected(capsys, flags(runs, tmp_path, "[bc]", checkpoint="best"))
    assert wanted == ["best"]
    assert summary["checkpoint"] == "best"
    assert {row["step"] for row in summary["ranking"]} == {80}
    # Both stand for the same weights, so that one score serves all four pairs.
    assert len(json.loads((tmp_path / "pairs.json").read_text())) == 1
    assert summary["ranking"][0]["centrality"] == summary["ranking"][1]["centrality"]


# Codes.


def test_the_columns_of_each_code() -> None:
    space = LatentSpace((Normal("z", 2, is_code=False), Categorical("c", 3), Uniform("u", 2)))
    model: Any = SimpleNamespace(latent_space=space)
    assert code_columns(model) == [[2, 3, 4], [5], [6]]


def test_the_published_protocol() -> None:
    paper = PRESETS["paper"]
    assert (5 * paper.groups_per_code, 10 * paper.groups_per_code) == (500, 1000)
    assert (paper.group_size, paper.spread_images) == (100, 73_728)


# Which runs are compared.


def test_runs_are_found_once_and_other_things_passed_over(runs: Path) -> None:
    assert [path.name for path in find_runs([f"{runs}/*"])] == ["a", "b", "c"]
    assert [path.name for path in find_runs([f"{runs}/b, {runs}/[ab]", f"{runs}/b/"])] == ["b", "a"]


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["nowhere/*"], r"--runs='nowhere/\*' finds no run folder"),
        (["{runs}/logs"], "holds no run"),
        (["{runs}/a"], "finds 1 run; .* give two or more"),
        (["{runs}/a,{runs}/a"], "finds 1 run; "),
        (["{runs}/a", "{runs}/log*"], "log.*finds no run folder"),
        ([","], "finds 0 runs"),
    ],
)
def test_runs_that_are_not_there(runs: Path, patterns: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_runs([pattern.format(runs=runs) for pattern in patterns])


def test_names_keep_apart_what_folders_do_not(runs: Path, own_runs: Path) -> None:
    names = [run.name for run in read_runs([runs / "a", own_runs / "a", own_runs / "b"], False)]
    assert len(set(names)) == 3
    assert all(name.endswith(("/a", "/b")) for name in names)


def test_runs_that_are_not_finished_or_have_other_data(
    own_runs: Path, capsys: pytest.CaptureFixture[str], calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = json.loads((own_runs / "b" / "options.json").read_text())
    options["experiment"]["total_steps"] = 1000
    (own_runs / "b" / "options.json").write_text(json.dumps(options))
    (own_runs / "c" / "result.json").unlink()
    with pytest.raises(UserError, match=r"2 of 3 .* not finished: b \(step 70 of 1,000\); c \(step 60 of 60\);"):
        select(flags(own_runs))
    assert calls == []
    assert not (own_runs / "selection").exists()

    def with_other_data(*given: Any) -> list[Experiment]:
        first, second = restore_once(*given)
        return [replace(first, dataset=first.dataset.limited(50)), second]

    monkeypatch.setattr("training.select.restore_runs", with_other_data)
    summary = selected(capsys, flags(own_runs, pattern="[ab]", allow_unfinished=True))
    assert summary["out"] == str((own_runs / "selection").resolve())
    assert "Not finished: b (step 70 of 1,000)." in summary["notes"]
    assert summary["ranking"][0]["udr"] == {}
    assert any("UDR is left out" in note and "50 images" in note for note in summary["notes"])
    assert "dlib_udr" not in (own_runs / "selection" / "report.html").read_text()


def test_a_published_run_says_the_step_of_its_weights(own_runs: Path) -> None:
    shutil.rmtree(own_runs / "a" / "checkpoints")
    (own_runs / "a" / WEIGHTS).touch()
    result = json.loads((own_runs / "a" / "result.json").read_text())
    (own_runs / "a" / "result.json").write_text(json.dumps({**result, "step": 40}))
    with pytest.raises(UserError, match=r"a \(step 40 of 80\)"):
        read_runs(find_runs([f"{own_runs}/*"]), allow_unfinished=False)


def test_scores_that_are_damaged_are_passed_over(own_runs: Path) -> None:
    one = read_runs(find_runs([f"{own_runs}/*"]), allow_unfinished=False)[0]
    kept = json.loads((one.path / "evaluation" / "step_000000080_fast.json").read_text())
    whole = kept_scores(one, kept["fingerprint"])
    assert whole[0]
    for number, damaged in enumerate((b"{", b"[]", b"{}", json.dumps({**kept, "scores": {"mig": 1}}).encode())):
        (one.path / "evaluation" / f"step_{number}_fast.json").write_bytes(damaged)
    assert kept_scores(one, kept["fingerprint"]) == whole


def test_a_selection_that_is_refused_leaves_no_folder(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("no such checkpoint")

    monkeypatch.setattr("training.select.restore_runs", refuse)
    with pytest.raises(UserError, match="no such checkpoint"):
        select(flags(runs, tmp_path / "out" / "here"))
    assert not (tmp_path / "out").exists()


def test_runs_that_cannot_be_compared(own_runs: Path) -> None:
    path = own_runs / "c" / "options.json"
    options = json.loads(path.read_text())
    path.write_text(json.dumps(options).replace("IBGANOptions", "FactorVAEOptions"))
    with pytest.raises(UserError, match=r"different models: .*b is of IBGAN, c is of FactorVAE"):
        select(flags(own_runs))
    path.write_text(json.dumps(options))
    gin = own_runs / "c" / "configuration.gin"
    gin.write_text(gin.read_text().replace("data.name = 'dsprites'", "data.name = 'color_dsprites'"))
    with pytest.raises(UserError, match=r"different shapes: b has \(64, 64, 1\), c has \(64, 64, 3\)"):
        select(flags(own_runs))


def test_one_comparison_at_a_time(runs: Path, tmp_path: Path) -> None:
    with locked(tmp_path, wait=False), pytest.raises(UserError, match="another process compares runs"):
        select(flags(runs, tmp_path))


def test_the_command(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--mode=select", f"--runs={runs}/a,{runs}/b", "--preset=fast", "--seed=3", f"--out={tmp_path / 'out'}"]
    monkeypatch.setattr("sys.argv", ["run.py", *given])
    run.FLAGS.unparse_flags()
    assert run.main() == 0
    summary = tiny_runs.last_json(capsys.readouterr().out)
    assert [row["rank"] for row in summary["ranking"]] == [1, 2]
    assert summary["protocol"]["seed"] == 3
    assert (tmp_path / "out" / "report.html").is_file()
    monkeypatch.setattr("sys.argv", ["run.py", "--mode=select", f"--runs={tmp_path}/nothing*"])
    run.FLAGS.unparse_flags()
    with pytest.raises(UserError, match="finds no run folder"):
        run.main()
