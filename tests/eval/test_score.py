import json

import numpy as np
import pytest
from pydantic import ValidationError

from eval.score import Score, missing, ok


def test_details_are_plain_json_in_which_no_value_is_null():
    score = ok(1.0, frames=np.array([1.0, np.nan]), deep={"x": [np.float32(2), np.inf]})
    assert score.details == {"frames": [1.0, None], "deep": {"x": [2.0, None]}}
    assert "NaN" not in score.model_dump_json()
    assert Score.model_validate(json.loads(score.model_dump_json())) == score


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_an_error_and_never_a_number(value):
    score = ok(value)
    assert score.value is None
    assert score.status == "error"
    with pytest.raises(ValidationError):
        Score(value=value)


def test_a_score_without_a_value_has_a_reason():
    assert missing("skipped", "no mask").reason == "no mask"
    with pytest.raises(ValidationError):
        Score(value=None, status="skipped")
    with pytest.raises(ValidationError):
        Score(value=0.0, status="error", reason="judge's reply not parseable")
