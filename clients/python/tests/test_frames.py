"""pandas in and out, and the bar."""

from __future__ import annotations

import builtins
from typing import Any

import engram
import numpy as np
import pytest

pandas = pytest.importorskip("pandas")


def frame(count: int) -> Any:
    return pandas.DataFrame(
        {
            "text": [f"row {at}" for at in range(count)],
            "embedding": list(np.eye(3)[np.arange(count) % 3]),
            "time_ms": pandas.to_datetime(np.arange(count), unit="s", utc=True),
            "metadata": [{"at": at} for at in range(count)],
            "id": [f"id-{at}" for at in range(count)],
            "other": "left out",
        }
    )


def test_a_frame_goes_in_and_comes_out(client: engram.Client, name: str) -> None:
    space = client.space(name, 3)
    assert space.observe_many(frame(30)).acked == 30
    listed = space.list(with_embedding=True).to_pandas()
    assert list(listed["text"]) == [f"row {at}" for at in range(30)]
    assert list(listed["time_ms"]) == [at * 1000 for at in range(30)]
    assert listed["metadata"][7] == {"at": 7} and listed["embedding"][1].tolist() == [0.0, 1.0, 0.0]
    answer = space.recall([1.0, 0.0, 0.0], 5).to_pandas()
    assert "embedding" not in answer.columns and list(answer["score"]) == pytest.approx([1.0] * 5)
    # What came out goes in again: the ids are known, so it replaces.
    assert space.observe_many(listed).acked == 30
    assert space.count().count == 30


def test_a_wrong_frame_is_told_before_anything_is_sent(client: engram.Client, name: str) -> None:
    space = client.space(name, 3)
    ragged = frame(3)
    ragged.at[1, "embedding"] = np.ones(2)
    nan = frame(3)
    nan.at[2, "embedding"] = np.array([1.0, np.nan, 0.0])
    for bad, words in (
        (frame(3).drop(columns="embedding"), "no column 'embedding'"),
        (ragged, "give each row a vector of one length"),
        (nan, r"row 2: embedding\[1\] is nan"),
    ):
        with pytest.raises(engram.InvalidArgument, match=words):
            space.observe_many(bad)
    assert space.observe_many(frame(0)).rows == 0
    assert space.count().count == 0


def test_a_bar_shows_what_is_acked(client: engram.Client, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    space = client.space(name, 3)
    space.observe_many(frame(30), progress=True)
    assert "30/30" in capsys.readouterr().err
    # No terminal, no bar.
    space.observe_many(frame(30))
    assert capsys.readouterr().err == ""


def test_without_tqdm_a_bar_that_is_asked_for_says_how_to_get_it(
    client: engram.Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(module: str, *more: Any) -> Any:
        if module == "tqdm":
            raise ImportError(module)
        return real(module, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(engram.InvalidArgument, match="pip install"):
        client.space(name, 3).observe_many([], progress=True)
