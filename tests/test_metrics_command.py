"""`python -m metrics`: what it prints, and that every bad file ends in one line and exit code 2."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from metrics import plots, registry
from metrics.__main__ import main
from metrics.code_classification import code_error

ROOT = Path(__file__).resolve().parents[1]


GROUP_IDS = {
    "factor_vae",
    "factor_vae_revised",
    "ibgan_factor_vae",
    "beta_vae",
    "dlib_factor_vae",
    "dlib_beta_vae",
}


def arrays() -> dict[str, np.ndarray]:
    """A representation that is perfect in three codes and has a fourth that is dead."""
    rng = np.random.default_rng(0)
    groups = np.concatenate([rng.normal(size=(30, 20, 3)), np.ones((30, 20, 1))], axis=2)
    labels = np.arange(30) % 3
    groups[np.arange(30), :, labels] = 0.5
    codes = np.concatenate([rng.normal(size=(500, 3)), np.ones((500, 1))], axis=1)
    return {"group_codes": groups, "group_labels": labels, "codes": codes}


def save(path: Path, **values: object) -> Path:
    np.savez(path, **values)  # type: ignore[arg-type]
    return path


@pytest.fixture
def codes_file(tmp_path: Path) -> Path:
    return save(tmp_path / "codes.npz", **arrays())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metrics", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_json_is_one_object_on_standard_output(codes_file: Path) -> None:
    result = run("--codes", str(codes_file), "--json", "--seed", "3")
    assert result.returncode == 0
    assert result.stderr == ""
    record = json.loads(result.stdout)
    assert set(record["metrics"]) >= GROUP_IDS
    assert "mig" not in record["metrics"]
    assert record["metrics"]["factor_vae"]["score"] == 1.0
    assert record["metrics"]["factor_vae"]["active_codes"] == [0, 1, 2]
    assert record["preset"] == "paper"
    assert record["seed"] == 3


def test_the_table_names_what_was_degenerate(codes_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--codes", str(codes_file), "--metrics", "factor_vae, factor_vae_revised"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["metric", "score"]
    assert lines[1].split() == ["factor_vae", "1.0000"]
    assert "1 of 4 codes never change" in lines[2]
    assert "ibgan" not in "".join(lines)


def test_help_and_list_teach(capsys: pytest.CaptureFixture[str]) -> None:
    result = run("--help")
    assert result.returncode == 0
    for word in ("group_codes", "group_labels", "(M, L, D)", "factor_vae_revised", "numpy.savez", "--preset"):
        assert word in result.stdout
    assert main(["--list"]) == 0
    assert "InfoGAN-CR (Lin et al., ICML 2020)" in capsys.readouterr().out
    assert main(["--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["metrics"]
    assert listed["factor_vae"]["needs"] == ["group_codes", "group_labels"]
    assert listed["mig"]["slow_in"] == []
    assert listed["dlib_dci_gbt"]["slow_in"] == ["fast", "paper"]
    for name in listed:
        assert f"\n  {name} " in result.stdout


def test_the_command_starts_without_heavy_packages() -> None:
    code = (
        "import sys, metrics.__main__; heavy = {'tensorflow', 'keras', 'scipy', 'sklearn', 'matplotlib', 'gin'}; "
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0


def test_unknown_arrays_are_named_with_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.npz", **arrays(), factor=np.zeros(3), extra=np.zeros(3))
    assert main(["--codes", str(path), "--json", "--metrics", "factor_vae"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["metrics"]["factor_vae"]["score"] == 1.0
    assert "no metric reads: factor, extra" in captured.err
    assert "'factors'" in captured.err


def changed(**changes: object) -> dict[str, object]:
    return {name: value for name, value in (arrays() | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (changed(group_labels=None, codes=None), "suffices for no metric"),
        (changed(group_labels=None, group_codes=None, codes=None, x=np.zeros(3)), "none of the arrays"),
        (changed(group_codes=np.zeros((4, 5))), "group_codes must have 3 axes; its shape is (4, 5)"),
        (changed(group_codes=np.full((30, 20, 4), np.nan)), "NaN or infinite"),
        (changed(group_codes=np.full((30, 20, 4), "a")), "group_codes must hold real numbers"),
        (changed(group_labels=np.zeros(29)), "(30,), one label per group; its shape is (29,)"),
        (changed(group_labels=np.full(30, 0.5)), "whole numbers"),
        (changed(codes=np.zeros((500, 3))), "same number of codes"),
        (changed(codes=np.zeros(500)), "codes must have 2 axes"),
        (changed(codes=np.array([{}, []], dtype=object)), "Python objects, which are never unpickled"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, values: dict[str, object], words: str) -> None:
    path = save(tmp_path / "wrong.npz", **values)
    with pytest.raises(UserError) as error:
        main(["--codes", str(path)])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def labeled(rows: int = 400) -> dict[str, np.ndarray]:
    """Codes that show two of three factors well, with all that may be said of the factors."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, (3, 8, 5), size=(rows, 3)).astype(float)
    factors[:20, 1] = np.nan
    codes = np.nan_to_num(factors[:, [0, 1, 1]]) + rng.normal(size=(rows, 3)) * [0.1, 0.5, 2]
    return {
        "codes": np.concatenate([codes, np.full((rows, 1), 0.1)], axis=1),
        "factors": factors,
        "factor_names": np.array(["shape", "size", "color"]),
        "discrete": np.array([True, False, True]),
        "periodic": np.array([False, True, False]),
    }


def test_codes_with_factors_are_scored_by_all_their_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.npz", **labeled())
    ids = "sap,mig,modularity,explicitness,dlib_sap,dlib_sap_continuous,dlib_mig,dlib_modularity,dlib_explicitness"
    assert main(["--codes", str(path), "--json", "--metrics", ids]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert list(metrics) == ids.split(",")
    for result in metrics.values():
        assert 0 <= result["score"] <= 1
        assert any("1 of 4 codes never change" in text for text in result["degenerate"])
        assert result["factor_names"] == ["shape", "size", "color"]
        assert any("20 of 400 images have no size" in note for note in result["notes"])
    assert metrics["sap"]["discrete"] == [True, False, True]
    assert np.shape(metrics["mig"]["mutual_information"]) == (4, 3)
    assert metrics["modularity"]["per_code"][3] is None
    assert main(["--codes", str(path), "--json", "--strict_reference", "--metrics", "sap,modularity,mig"]) == 0
    strict = json.loads(capsys.readouterr().out)["metrics"]
    assert strict["sap"]["score"] is None
    assert strict["modularity"]["score"] is None
    assert strict["mig"]["score"] == metrics["mig"]["score"]
    assert any("strict_reference" in text for text in strict["sap"]["degenerate"])


def test_files_with_held_out_images_need_no_category(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    for categories, levels in ((0, (9, 12)), (2, (3, 4))):
        factors = np.stack([rng.integers(0, level, 150) for level in levels], axis=1)
        codes = factors + rng.normal(size=factors.shape) * 0.1
        values = {"codes": codes[:100], "factors": factors[:100], "test_codes": codes[100:]}
        path = save(tmp_path / "a.npz", **values, test_factors=factors[100:])
        assert main(["--codes", str(path), "--json", "--preset", "fast"]) == 0
        captured = capsys.readouterr()
        assert {"mig", "dlib_sap"} <= set(json.loads(captured.out)["metrics"])
        assert f"left out: code_error_majority: {categories} of 2 factors" in captured.err
        # Whoever names it, or says which codes are categories, wants it.
        with pytest.raises(UserError, match="the class must be the only one"):
            main(["--codes", str(path), "--metrics", "code_error_majority"])
        save(path, **values, test_factors=factors[100:], code_columns=np.array([0, 1]))
        with pytest.raises(UserError, match="the class must be the only one"):
            main(["--codes", str(path), "--preset", "fast"])
        capsys.readouterr()


def test_plots_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.npz", **(arrays() | labeled(500)))
    chosen = "factor_vae,dlib_factor_vae,beta_vae,mig,sap"
    assert main(["--codes", str(path), "--metrics", chosen, "--plots", str(tmp_path / "plots")]) == 0
    expected = {
        "scores.png",
        "factor_vae_votes.png",
        "dlib_factor_vae_votes.png",
        "dlib_factor_vae_test_votes.png",
        "beta_vae_confusion.png",
        "mig_mutual_information.png",
        "sap_prediction.png",
    }
    files = {file.name: file for file in (tmp_path / "plots").iterdir()}
    assert files.keys() == expected
    for file in files.values():
        pixels = np.asarray(Image.open(file).convert("RGB"))
        assert min(pixels.shape[:2]) > 150
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert "7 plots in" in capsys.readouterr().err
    with pytest.raises(UserError, match="which is a file"):
        main(["--codes", str(path), "--plots", str(path)])


def test_the_plot_of_categories_says_what_its_rows_are() -> None:
    codes = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    result = code_error(codes, [5, 7, 7, 5, 7, 7], codes, [5, 7, 7, 5, 7, 5])
    axes = plots._matrix("code_error_majority", "confusion", result, result.confusion).axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("categories", "classes")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["5", "7"]


def test_slow_metrics_are_left_out_unless_named(
    codes_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = registry.get("factor_vae")
    monkeypatch.setitem(registry._METRICS, "factor_vae", dataclasses.replace(entry, slow_in=("paper",)))
    assert main(["--codes", str(codes_file), "--json"]) == 0
    captured = capsys.readouterr()
    assert "factor_vae" not in json.loads(captured.out)["metrics"]
    assert "left out because they take long, unless named in --metrics: factor_vae" in captured.err
    assert main(["--codes", str(codes_file), "--json", "--metrics", "factor_vae"]) == 0
    assert "factor_vae" in json.loads(capsys.readouterr().out)["metrics"]


def keras_file(path: Path, outputs: int = 1, codes: int = 6) -> Path:
    """An encoder of 64 x 64 images with one channel."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((64, 64, 1))
    flat = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(inputs))
    heads = [keras.layers.Dense(codes)(flat) for _ in range(outputs)]
    keras.Model(inputs, heads if outputs > 1 else heads[0]).save(path)
    return path


def test_an_encoder_is_scored_on_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = keras_file(tmp_path / "encoder.keras")
    data = ["--dataset", "dsprites", "--source", "synthetic", "--data_dir", str(tmp_path)]
    ids = ["--metrics", "factor_vae,mig,dlib_sap", "--preset", "fast", "--json"]
    assert main(["--encoder", str(encoder), *data, *ids]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["metrics"]) == ["factor_vae", "mig", "dlib_sap"]
    assert all(0 <= result["score"] <= 1 for result in record["metrics"].values())
    assert record["metrics"]["mig"]["factor_names"][0] == "shape"
    assert record["data_source"] == "synthetic"
    assert main(["--encoder", str(encoder), *data, *ids, "--batch", "100"]) == 0
    again = json.loads(capsys.readouterr().out)["metrics"]["factor_vae"]
    assert again["votes"] == record["metrics"]["factor_vae"]["votes"]
    two = keras_file(tmp_path / "two.keras", outputs=2)
    with pytest.raises(UserError, match=r"2 outputs \(0: \(6,\), 1: \(6,\)\); choose one with --encoder_output"):
        main(["--encoder", str(two), *data, *ids])
    assert main(["--encoder", str(two), *data, *ids, "--encoder_output", "1"]) == 0
    with pytest.raises(UserError, match="--encoder_output is 2"):
        main(["--encoder", str(two), *data, *ids, "--encoder_output", "2"])
    with pytest.raises(UserError, match="does not take images of 64x64x3"):
        main(["--encoder", str(encoder), "--dataset", "celeba", "--source", "synthetic", *ids])
    (tmp_path / "broken.keras").write_bytes(b"not a model")
    with pytest.raises(UserError, match="cannot be loaded as a Keras model"):
        main(["--encoder", str(tmp_path / "broken.keras"), *data, *ids])
    with pytest.raises(UserError, match="no such file"):
        main(["--encoder", str(tmp_path / "none.keras"), *data, *ids])


def test_a_missing_array_is_named_with_its_near_match(tmp_path: Path) -> None:
    values = arrays()
    values["codes_groups"] = values.pop("group_codes")
    with pytest.raises(UserError, match="factor_vae needs group_codes; there is codes, group_labels"):
        main(["--codes", str(save(tmp_path / "a.npz", **values)), "--metrics", "factor_vae"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--codes", "no/such/file.npz"], "no such file"),
        ([], "--codes is missing"),
        (["--codes", "x.npz", "--metrics", "factor_va"], "did you mean 'factor_vae"),
        (["--codes", "x.npz", "--preset", "slow"], "invalid choice: 'slow'"),
        (["--codes", "x.npz", "--seed", "-1"], "--seed is -1"),
        (["--codes", "x.npz", "--seed", "a"], "'a' is no whole number"),
        (["--code", "x.npz"], "did you mean '--codes'"),
        (["--encoder", "x.keras"], "--encoder and --dataset belong together"),
        (["--codes", "x.npz", "--dataset", "dsprites"], "--encoder and --dataset belong together"),
        (["--codes", "x.npz", "--encoder", "y.keras", "--dataset", "dsprites"], "not both"),
        (["--codes", "x.npz", "--batch", "8", "--raw_dir", "raw"], "--codes takes no --raw_dir, --batch"),
        (["--encoder", "x.keras", "--dataset", "dsprites", "--batch", "0"], "--batch is 0"),
        (["--encoder", "x.keras", "--dataset", "dsprite"], "did you mean 'dsprites'"),
    ],
)
def test_wrong_arguments_end_in_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as error:
        main(arguments)
    assert words in str(error.value)


def test_errors_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    path = save(tmp_path / "bad.npz", **arrays())
    path.write_bytes(path.read_bytes()[:-2000])
    result = run("--codes", str(path), "--json")
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
