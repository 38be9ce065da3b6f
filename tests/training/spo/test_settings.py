"""SPO's settings: the paper's defaults, the reference's choices, and what is refused."""

from typing import Any

import pytest

from spo_train.spo.settings import REFERENCE, SPOSettings, settings_from


def test_the_defaults_are_the_papers() -> None:
    settings = SPOSettings()
    numbers = (settings.rho_min, settings.rho_max, settings.half_divergence, settings.exploration)
    assert numbers == (0.875, 0.96, 0.06, 0.05)
    assert (settings.init, settings.initial_count, settings.fixed_rho, settings.prioritised) == ("mean", 8, None, True)


def test_the_reference_has_its_choices_in_place_of_the_defaults() -> None:
    settings = SPOSettings(compat="reference")
    assert (settings.init, settings.divergence, settings.first_visit) == ("jeffreys", "abs", "none")
    assert (settings.rho_min, settings.rho_max, settings.half_divergence) == (0.875, 0.96, 0.06)
    assert set(REFERENCE) <= set(SPOSettings.__dataclass_fields__)


def test_what_is_set_to_anything_else_stays_under_the_reference_too() -> None:
    settings = SPOSettings(compat="reference", init="none", divergence="k3")
    assert (settings.init, settings.divergence, settings.first_visit) == ("none", "k3", "none")


def test_the_paper_has_what_is_set() -> None:
    settings = settings_from({"init": "jeffreys", "first_visit": "none", "fixed_rho": 0.9})
    assert (settings.init, settings.first_visit, settings.fixed_rho) == ("jeffreys", "none", 0.9)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"inti": "mean"}, "trainer.spo.inti is not a setting"),
        ({"init": "median"}, "init 'median': wanted one of mean, jeffreys"),
        ({"compat": "references"}, "compat 'references': wanted one of paper, reference"),
        ({"rho_min": 0.97}, "wanted 0 <= rho_min <= rho_max < 1"),
        ({"rho_max": 1.0}, "wanted 0 <= rho_min <= rho_max < 1"),
        ({"fixed_rho": 1.0}, "fixed_rho 1.0"),
        ({"half_divergence": 0.0}, "half_divergence 0.0: wanted more than 0"),
        ({"exploration": -0.1}, "exploration -0.1: wanted 0 or more"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_from(config)
