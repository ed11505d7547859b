"""Runs of the command: what they leave, how they stop and go on, what they refuse."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf
import tiny_runs
from bad_input import outcome_of, small_files

from common.errors import UserError
from common.locks import locked
from training.configuration import load
from training.failures import user_error
from training.options import Configuration
from training.run_folder import RunFolder
from training.train import Stop, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nobody may change."""
    return tiny_runs.finished_run(tmp_path_factory)


def configuration_of(*changes: str, bindings: tuple[str, ...] = tiny_runs.EVENTFUL) -> tuple[Configuration, str]:
    return load(["gin/ibgan.gin"], [*bindings, *changes])


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def same_result(first: Path, second: Path) -> bool:
    """Whether two run folders hold the same fingerprint, records, scores and pictures."""
    results = [json.loads((folder / "result.json").read_text()) for folder in (first, second)]
    for name in ("fingerprint", "scores", "step"):
        assert results[0][name] == results[1][name], name
    for name in ("metrics.jsonl", "evaluation/step_000000080_fast.json", "evaluation/step_000000040_fast.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    for folder in ("pictures", "training_pictures"):
        assert names_in(first / folder) == names_in(second / folder)
        for name in names_in(first / folder):
            assert (first / folder / name).read_bytes() == (second / folder / name).read_bytes(), name
    return True


def test_what_a_run_leaves(finished: Path) -> None:
    assert names_in(finished) >= {
        *("configuration.gin", "options.json", "environment.json", "result.json", "report.html"),
        *("metrics.jsonl", "timing.jsonl", "events", "gin", "checkpoints", "evaluation", "pictures"),
        "training_pictures",
    }
    assert (finished / "gin" / "0_ibgan.gin").read_text() == (tiny_runs.ROOT / "gin" / "ibgan.gin").read_text()
    assert names_in(finished / "checkpoints" / "last") == {
        "checkpoint",
        *(f"ckpt-{step}.{end}" for step in (60, 70, 80) for end in ("index", "data-00000-of-00001")),
    }
    assert len(list((finished / "checkpoints" / "best").glob("ckpt-*.index"))) == 1
    pictures = {
        f"{base}_{code}.{end}" for base in ("zfixed", "rfixed") for code in ("r0", "r1") for end in ("png", "gif")
    }
    assert names_in(finished / "pictures") >= {"samples.png", "zfixed_all.png", "rfixed_all.png", *pictures}
    assert {f"samples_{step:09d}.png" for step in (0, 40, 80)} <= names_in(finished / "training_pictures")
    assert "<html" in (finished / "report.html").read_text()
    assert not [path for path in finished.rglob("*") if "partial" in path.name]


def test_the_records_of_a_run(finished: Path) -> None:
    records = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    logged = [record for record in records if "discriminator/loss" in record]
    assert [record["step"] for record in logged] == list(range(2, 81, 2))
    assert set(logged[0]) >= {"kl/r0", "kl/r1", "information/lower_bound", "learning_rate/discriminator"}
    assert logged[0]["learning_rate/generator"] == pytest.approx(5e-5)
    scored = [record for record in records if "score_fast/ibgan_factor_vae" in record]
    assert [record["step"] for record in scored] == [0, 40, 80]
    assert not [name for record in records for name in record if name.startswith("timing/")]
    timing = [json.loads(line) for line in (finished / "timing.jsonl").read_text().splitlines()]
    assert [record["step"] for record in timing] == list(range(2, 81, 2))


def test_what_a_run_says(finished: Path) -> None:
    out = (finished.parent / "stdout").read_text()
    result = json.loads(out)
    assert out.count("\n") == 1
    assert result["step"] == 80
    assert result["data_source"] == "synthetic"
    assert len(result["fingerprint"]) == 64
    assert set(result["scores"]) == {"ibgan_factor_vae"}
    assert result == json.loads((finished / "result.json").read_text())
    err = (finished.parent / "stderr").read_text()
    for noise in ("cudart", "cuInit", "absl::InitializeLog", "Traceback", "WARNING", "Warning", "rebuild TensorFlow"):
        assert noise not in err
    assert "dsprites_synthetic" in err
    assert "80" in err


def test_a_run_that_is_extended_killed_damaged_and_terminated_ends_like_one_that_was_not(
    finished: Path, tmp_path: Path
) -> None:
    """A damaged checkpoint costs only the steps since the one before."""
    folder = tmp_path / "run"
    metrics = folder / "metrics.jsonl"
    flags = tiny_runs.arguments(tiny_runs.EVENTFUL, f"--run_dir={folder}")
    shorter = tiny_runs.run(*flags, "--gin_param=experiment.total_steps = 40")
    assert shorter.returncode == 0, shorter.stderr
    assert tiny_runs.last_json(shorter.stdout)["step"] == 40

    killed = tiny_runs.stop_at(lambda: tiny_runs.lines_of(metrics) >= 28, signal.SIGKILL, *flags)
    assert killed.returncode == -signal.SIGKILL
    assert "going on from step 40" in killed.stderr
    # What a kill in the middle of a write would leave.
    with open(metrics, "a", encoding="utf-8") as handle:
        handle.write('{"step": 77, "discriminator/lo')
    checkpoints = folder / "checkpoints" / "last"
    state = tf.train.get_checkpoint_state(str(checkpoints))
    before, newest = (int(path.rpartition("-")[2]) for path in state.all_model_checkpoint_paths[-2:])
    assert newest > before >= 40
    tiny_runs.truncate(checkpoints / f"ckpt-{newest}.data-00000-of-00001")

    terminated = tiny_runs.stop_at(lambda: tiny_runs.lines_of(metrics) >= 34, signal.SIGTERM, *flags)
    assert terminated.returncode == 128 + signal.SIGTERM, terminated.stderr
    assert terminated.stdout == ""
    assert "the same command goes on from there" in terminated.stderr
    assert f"ckpt-{newest} is damaged; trying the one before" in terminated.stderr
    assert f"going on from step {before}" in terminated.stderr

    last = tiny_runs.run(*flags)
    assert last.returncode == 0, last.stderr
    assert "damaged" not in last.stderr
    assert same_result(folder, finished)
    # The first of the three is the one that the signal asked for.
    kept = [path.stem for path in sorted(checkpoints.glob("*.index"))]
    assert len(kept) == 3
    assert kept[1:] == ["ckpt-70", "ckpt-80"]


def leave_what_kills_leave(folder: Path) -> None:
    """Puts into a run folder what kills in the middle of writes leave in it."""
    last, best = folder / "checkpoints" / "last", folder / "checkpoints" / "best"
    (folder / ".options.json.0.partial").write_text("{")
    (last / "ckpt-70_temp").mkdir()
    (last / "ckpt-70_temp" / "part-00000-of-00001.data-00000-of-00001.tempstate1234").touch()
    (last / "ckpt-70.index.tempstate5678").touch()
    (best / "checkpoint.tmp0123456789abcdef").touch()
    # Killed before the checkpoint that is one too many was removed, or between its two files.
    for number in (40, 50):
        (last / f"ckpt-{number}.data-00000-of-00001").touch()
    (last / "ckpt-50.index").touch()
    state = tf.train.get_checkpoint_state(str(last))
    state.all_model_checkpoint_paths[:0] = ["ckpt-40", "ckpt-50"]
    state.all_model_checkpoint_timestamps[:0] = [state.all_model_checkpoint_timestamps[0] - 1e-4] * 2
    (last / "checkpoint").write_text(str(state))


def test_a_finished_run_only_repeats_its_result(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_runs.copy_of(finished, tmp_path / "run")
    leave_what_kills_leave(folder)
    assert train(*configuration_of(), ["gin/ibgan.gin"], folder) == 0
    result = tiny_runs.last_json(capsys.readouterr().out)
    assert result["fingerprint"] == json.loads((finished / "result.json").read_text())["fingerprint"]
    assert (folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    for name in ("checkpoints/last", "checkpoints/best"):
        assert names_in(folder / name) == names_in(finished / name)
    assert ".options.json.0.partial" not in names_in(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ibgan.beta = 0.5", "experiment.model.beta was 0.141 and is 0.5"),
        ("experiment.seed = 1", "experiment.seed was 7 and is 1"),
        ("experiment.total_steps = 10", "has done 80 steps, more than experiment.total_steps = 10"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_left_as_it_is(
    finished: Path, tmp_path: Path, change: str, words: str
) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints" / "last").mkdir(parents=True)
    shutil.copy(finished / "options.json", folder)
    (folder / "checkpoints" / "last" / "ckpt-80.index").touch()
    before = (folder / "options.json").read_bytes()
    with pytest.raises(UserError, match=words):
        RunFolder(folder).claim(*configuration_of(change), [], "synthetic")
    assert (folder / "options.json").read_bytes() == before
    assert names_in(folder) == {"options.json", "checkpoints"}


def test_other_data_are_refused(finished: Path) -> None:
    with pytest.raises(UserError, match="the data were 'synthetic' and are 'official'"):
        RunFolder(finished).claim(*configuration_of(), [], "official")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty and no run folder"):
        RunFolder(tmp_path).claim(*configuration_of(), [], "synthetic")
    assert names_in(tmp_path) == {"thesis.txt"}
    with pytest.raises(UserError, match="is a file"):
        RunFolder(tmp_path / "thesis.txt").refuse_file()


def test_a_claim_that_was_killed_half_way_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "run")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.run_folder.RunFolder.subfolder", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.claim(*configuration_of(), ["gin/ibgan.gin"], "synthetic")
    monkeypatch.undo()
    (folder.path / ".options.json.12345678.partial").touch()
    folder.claim(*configuration_of(), ["gin/ibgan.gin"], "synthetic")
    assert (folder.path / "gin" / "0_ibgan.gin").is_file()
    assert load([folder.configuration_file])[0] == configuration_of()[0]


def test_options_that_were_damaged(tmp_path: Path) -> None:
    (tmp_path / "options.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        RunFolder(tmp_path).claim(*configuration_of(), [], "synthetic")


def test_training_that_diverges_stops_with_the_step_and_the_term(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [f"{name}/rmsprop.learning_rate = 1e30" for name in ("encoder", "generator", "discriminator")]
    configuration, text = configuration_of(*changes, "experiment.total_steps = 20", bindings=tiny_runs.TINY)
    assert train(configuration, text, [], run_dir) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    line = captured.err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert "is no longer a finite number at step" in line
    assert not (run_dir / "result.json").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["evaluation.metrics = ('factor_vea',)"], "there is no metric 'factor_vea'; did you mean 'factor_vae'"),
        (["experiment.best_metric = 'factor_vae'"], "experiment.best_metric is 'factor_vae', which is not one of"),
        (["data.limit = 100", "evaluation.metrics = ('factor_vae',)"], "grid of factors"),
        (["data.name = 'dsprite'"], "did you mean 'dsprites'"),
        (["data.source = 'sinthetic'"], "did you mean 'synthetic'"),
        (["experiment.global_batch = 4096"], "global_batch is 4096, but dsprites_synthetic has"),
        (
            ["experiment.global_batch = 9", "experiment.strategy = 'mirrored'", "experiment.devices = 2"],
            "multiple of 2",
        ),
        (["experiment.strategy = 'mirrored'", "experiment.devices = 9"], "started with 2 CPU devices"),
        (["experiment.strategy = 'one_device'", "experiment.devices = 2"], "use experiment.strategy = 'mirrored'"),
        (["experiment.strategy = 'multi_worker'"], "TF_CONFIG"),
        (["experiment.optimizers = {'teacher': @encoder/rmsprop()}"], "nothing uses the binding"),
        (["ibgan.noise_start = 0.0", "data.name = 'dsprites'", "experiment.name = '..'"], "becomes a folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str], words: str
) -> None:
    # Starts TensorFlow, after which the number of its devices is fixed.
    assert len(tf.config.list_logical_devices("CPU")) == 2
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match=words):
        train(*configuration_of(*changes, bindings=tiny_runs.TINY), [], run_dir)
    assert not run_dir.exists()


def test_the_first_signal_is_noted_and_the_second_one_interrupts() -> None:
    stop = Stop()
    before = signal.getsignal(signal.SIGTERM)
    with stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


# Disks that are full, and folders that cannot be written.


def assert_one_line(code: int, out: str, err: str, words: str) -> None:
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("error: ")
    assert err.count("error: ") == 1
    assert words in err


def test_a_file_size_limit_that_a_checkpoint_exceeds(run_dir: Path) -> None:
    bindings = (*tiny_runs.TINY, "experiment.total_steps = 0", "experiment.picture_every = 0")
    with small_files(300_000):
        outcome = outcome_of("run", [*tiny_runs.arguments(bindings), f"--run_dir={run_dir}"], run_dir.parent)
    assert_one_line(outcome.code, outcome.out, outcome.err, "a file may not become that large here")


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        bindings = (*tiny_runs.TINY, "experiment.total_steps = 0", "experiment.picture_every = 0")
        result = tiny_runs.run(*tiny_runs.arguments(bindings), f"--run_dir={disk / 'run'}")
        left = [path.name for path in disk.rglob("*") if "partial" in path.name]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert_one_line(result.returncode, result.stdout, result.stderr, "the disk is full")
    assert not left


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            tf.errors.ResourceExhaustedError(None, None, "/runs/a/ckpt-5.data; No space left on device"),
            "/runs/a/ckpt-5.data: the disk is full",
        ),
        (tf.errors.PermissionDeniedError(None, None, "/runs/a; Permission denied"), "/runs/a: permission denied"),
        (tf.errors.UnknownError(None, None, "/runs/a; Read-only file system"), "read-only"),
        (tf.errors.UnknownError(None, None, "/runs/a; File too large"), "may not become that large"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), "memory is full"),
        (OSError(errno.ENOSPC, "No space left on device", "/runs/a"), "/runs/a: the disk is full"),
        (OSError(errno.EFBIG, "File too large", "/runs/a"), "/runs/a: a file may not become that large"),
        (
            OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')"),
            "the disk is full",
        ),
        (FileExistsError(errno.EEXIST, "File exists", "/runs/a"), "/runs/a: a file stands"),
    ],
)
def test_errors_about_disks_and_memory_say_what_to_do(error: Exception, words: str) -> None:
    known = user_error(error)
    assert known is not None
    assert words in str(known)
    assert "\n" not in str(known)


@pytest.mark.parametrize(
    "error",
    [ValueError("No space left on device"), tf.errors.InvalidArgumentError(None, None, "shapes"), OSError("odd")],
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert user_error(error) is None


def test_a_command_that_is_refused_changes_nothing_of_the_run_that_is_trained(finished: Path, tmp_path: Path) -> None:
    """More steps would be allowed, and options.json would say so while the other command trains to fewer."""
    folder = tiny_runs.copy_of(finished, tmp_path / "run")
    before = (folder / "options.json").read_bytes()
    configuration, text = configuration_of("experiment.total_steps = 90")
    with locked(folder, wait=True), pytest.raises(UserError, match="another process trains in"):
        train(configuration, text, ["gin/ibgan.gin"], folder)
    assert (folder / "options.json").read_bytes() == before


def test_pictures_that_somebody_put_into_a_run_are_left_alone(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_runs.copy_of(finished, tmp_path / "run")
    for name in ("mine.png", "my_own.png"):
        (folder / "training_pictures" / name).write_bytes(b"mine")
    assert train(*configuration_of(), ["gin/ibgan.gin"], folder) == 0
    assert "nothing is left to do" in capsys.readouterr().err
    assert {"mine.png", "my_own.png"} <= names_in(folder / "training_pictures")


def test_a_run_folder_serves_one_process_at_a_time(finished: Path, tmp_path: Path) -> None:
    folder = tiny_runs.copy_of(finished, tmp_path / "run")
    with locked(folder, wait=False):
        second = outcome_of("run", [*tiny_runs.arguments(tiny_runs.EVENTFUL), f"--run_dir={folder}"], folder)
    assert second.code == 2
    assert "another process trains in" in second.err
    assert second.changes == ()
