"""What is read of lines as programs write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homeport.components.progress.figures import MOST, Figures, Lines
from homeport.components.progress.lines import MOST_NAME, Choice, Said, choice, normal, read

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USUAL = Choice()


def figures(line: str, chosen: Choice = USUAL) -> dict[str, str]:
    return {figure.name: figure.value for figure in read(line, chosen).figures}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("loss=0.1", {"loss": "0.1"}),
        ("loss: 0.1", {"loss": "0.1"}),
        ("{'loss': 0.1, 'grad_norm': 1.5, 'learning_rate': 5e-05, 'epoch': 0.5}",
         {"loss": "0.1", "grad_norm": "1.5", "learning_rate": "5e-05"}),
        ('{"loss": 0.1, "val_accuracy": 1, "note": "x"}', {"loss": "0.1", "val_accuracy": "1"}),
        ("12/100 [==>.......] - ETA: 3s - loss: 0.3 - accuracy: 0.9", {"loss": "0.3", "accuracy": "0.9"}),
        ("12/100 \u2501\u2501\u2500\u2500 5s 50ms/step - acc: 0.5", {"accuracy": "0.5", "steps_per_second": "20"}),
        ("[7]\ttrain-logloss:0.25\teval-error:0.125", {"train-logloss": "0.25", "eval-error": "0.125"}),
        ("step 100: train loss 4.1, val loss 4.25", {"train_loss": "4.1", "val_loss": "4.25"}),
        ("Epoch: [3][ 10/391]\tLoss 6.9 (7.0)\tAcc@1   12.50 ( 11.00)", {"loss": "6.9", "acc@1": "12.5"}),
        (" 30%|###   | 30/100 [00:10<00:20,  3.10it/s, loss=0.5]", {"iterations_per_second": "3.1", "loss": "0.5"}),
        ("Test Accuracy = 93.5%", {"test_accuracy": "0.935"}),
        ("Validation loss: nan", {"val_loss": "NaN"}),
        ("loss: -inf lr=1e-3", {"loss": "-Inf", "learning_rate": "0.001"}),
        ("loss: tensor(0.5, device='cuda:0')", {"loss": "0.5"}),
        ("\x1b[32mloss\x1b[0m: 0.75.", {"loss": "0.75"}),
        ("throughput: 1,234.5 samples/sec", {"throughput": "1234.5", "samples_per_second": "1234.5"}),
        ("samples/sec: 12", {"samples_per_second": "12"}),
        ("loss: 1e999", {"loss": "+Inf"}),
        # What looks like it and is none:
        ("12:30:45 INFO listening on port: 8080, pid=12, error: 404", {}),
        ("loss of 3 workers; floss=1; loss_of_signal", {}),
        ("loss: 12ms, loss info, loss: none", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_figures(line: str, wanted: dict[str, str]) -> None:
    assert figures(line) == wanted


@pytest.mark.parametrize(
    ("line", "epoch", "step"),
    [
        ("epoch 3/10", (3, 10), (None, None)),
        ("Epoch [3/10], Step [100/600], Loss: 0.1", (3, 10), (100, 600)),
        ("Epoch 3 of 10", (3, 10), (None, None)),
        ("{'epoch': 2.5, 'step': 20}", (2, None), (20, None)),
        ("Epoch: [3][ 10/391]", (3, None), (10, 391)),
        ("12/100 [==>.......]", (None, None), (12, 100)),
        ("30%|\u2588\u2588 | 30/100 [00:10<00:20]", (None, None), (30, 100)),
        ("global_step=7", (None, None), (7, None)),
        ("[7]\ttrain-logloss:0.25", (None, None), (7, None)),
        ("epochs=10 batch_size=32 steps: 4 footstep 3", (None, None), (None, None)),
    ],
)
def test_epoch_and_step(line: str, epoch: tuple[int | None, int | None], step: tuple[int | None, int | None]) -> None:
    said = read(line, USUAL)
    assert ((said.epoch, said.epochs), (said.step, said.steps)) == (epoch, step)


def test_what_somebody_names_is_read_alone() -> None:
    chosen = choice("Quality=result is [0-9.]+\nspeed=([0-9.]+) img\n")
    assert chosen.complaints == ()
    assert figures("result is 0.5 at 12 img, loss=3", chosen) == {"quality": "0.5", "speed": "12"}
    assert read("epoch 2: nothing", chosen) == Said(epoch=2)
    assert choice(" off ").is_off


def test_wrong_patterns_are_complained_of() -> None:
    wrong = choice("a=(\nnonsense\n=x\nb=ok [0-9]+")
    assert [each.name for each in wrong.named] == ["b"]
    assert wrong.complaints[0] == "a: error parsing regexp: missing closing ): `(`"
    assert all("is not 'off' and not of the form name=pattern" in text for text in wrong.complaints[1:])
    assert len(choice("\n".join(f"m{n}=x" for n in range(50))).named) == 16


def test_a_jobs_figures() -> None:
    seen = Figures()
    for line in ("hello", "Epoch 2/4", "loss=0.5", "10/20 [==>..] - loss: 0.25", "accuracy: 0.5"):
        seen.take([line], NOW)
    assert seen.metrics() == [
        {"name": "epoch", "value": "2", "time": "2026-01-01T00:00:00Z"},
        {"name": "loss", "value": "0.25", "step": 10, "epoch": 2, "time": "2026-01-01T00:00:00Z"},
        {"name": "step", "value": "10", "time": "2026-01-01T00:00:00Z"},
        {"name": "accuracy", "value": "0.5", "step": 10, "epoch": 2, "time": "2026-01-01T00:00:00Z"},
    ]
    assert seen.trainer_status()["progressPercentage"] == 37
    again = Figures()
    again.restore(seen.metrics())
    assert again.metrics() == seen.metrics()
    again.take(["loss=0.125"], NOW)
    assert [each["value"] for each in again.metrics()] == ["2", "0.125", "10", "0.5"]


def test_a_bar_that_is_written_over_and_over_is_many_lines() -> None:
    lines = Lines()
    assert list(lines.feed(b"a\rb\nc\x08\x08d")) == ["a", "b", "c"]
    assert list(lines.feed(b"e\n")) == ["de"]
    assert list(lines.end()) == []


LOGS = st.lists(
    st.one_of(
        st.text(max_size=200),
        st.from_regex(r"[a-z_]{1,80}(loss|acc)[=: ]{1,3}[-+]?[0-9.eE,]{1,40}%?", fullmatch=True),
        st.from_regex(r"(epoch|step)[ :=\[]{0,3}[0-9]{1,30}/[0-9]{0,30}", fullmatch=True),
    ),
    max_size=40,
)


@given(LOGS)
@example(["loss=" + "9" * 400, "loss: 1e400", "epoch 0/0", "step 5/0", "0/0 [", "0s/it 0.0ms/step"])
def test_no_line_raises_and_what_is_kept_is_bounded(log: list[str]) -> None:
    seen = Figures()
    for line in log:
        seen.take([line], NOW)
    metrics = seen.metrics()
    assert len(metrics) <= MOST
    for metric in metrics:
        assert 0 < len(metric["name"]) <= MOST_NAME
        assert 0 < len(metric["value"]) <= 64
        assert metric["value"] in ("NaN", "+Inf", "-Inf") or math.isfinite(float(metric["value"]))
    assert 0 <= seen.trainer_status().get("progressPercentage", 0) <= 100


@given(st.text(max_size=200))
def test_names_are_tidy(name: str) -> None:
    assert re.fullmatch(r"([a-z][a-z0-9_./@-]{0,63})?", normal(name))


@given(st.lists(st.binary(max_size=40)))
def test_lines_are_bounded_and_complete(chunks: list[bytes]) -> None:
    lines = Lines()
    found = [line for chunk in chunks for line in lines.feed(chunk)] + list(lines.end())
    whole = re.split("[\n\r\x08]", b"".join(chunks).decode(errors="replace"))
    assert [line for line in found if line] == [line for line in whole if line]


@pytest.mark.parametrize("unit", ["a", "a.", "loss ", "1,111", "train ", "epoch[", "/1", "9", "loss=1 "])
def test_long_lines_take_little_time(unit: str) -> None:
    """Repeated a thousand times more, they'd take hours if reading were not linear."""
    lines = Lines()
    (line,) = lines.feed(unit.encode() * 1_000_000 + b"\n")
    read(line, USUAL)
