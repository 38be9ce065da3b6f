"""What a training run shows before its first step."""

import pytest

from spo_cli.terminal.train_progress import TrainDisplay
from spo_train.launch.preparation import Preparation


def test_the_pass_before_the_first_step_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """It takes up to half an hour, in which nothing was shown."""
    with TrainDisplay(500, baseline=True) as display:
        for done in (0, 2048, 17_917):
            display.on_preparation(Preparation(done, 17_917, done / 10))
    assert capsys.readouterr().err.splitlines() == [
        "first visits: 0 of 17,917 responses",
        "first visits: 2,048 of 17,917 responses · 26 min left",
        "first visits: 17,917 of 17,917 responses; the first step begins …",
    ]
