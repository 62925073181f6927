"""What is wrong is told before it is sent, in the words of what, where and what to do."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import engram
import numpy as np
import pytest
from engram import InvalidArgument, Observation, columns, field, limits, time_range
from engram._pool import Pool
from engram._rows import chunks
from engram.filters import where_to_wire
from engram.values import Shape, check_vectors, metadata_from_wire, observation_to_wire, time_to_ms

COSINE = Shape(dim=3, half=True, directed=True)
SINGLE = Shape(dim=3, half=False, directed=False)


def test_a_good_observation_passes_and_comes_back() -> None:
    metadata = {"place": "kitchen", "year": 2026, "warmth": 0.5, "on": True, "np": np.int64(3)}
    wire = observation_to_wire(Observation("a memory", [0.1, -0.5, 2.0], 7, metadata, "kettle"), COSINE)
    assert (wire.text, wire.time_ms, wire.id) == ("a memory", 7, "kettle")
    assert np.frombuffer(wire.embedding, "<f4").tolist() == pytest.approx([0.1, -0.5, 2.0])
    assert metadata_from_wire(wire.metadata) == {**metadata, "np": 3}
    assert metadata_from_wire(wire.metadata)["on"] is True


@pytest.mark.parametrize("vector", [[1, 2, 3], (1.0, 2.0, 3.0), np.arange(1, 4), np.array([1, 2, 3], dtype=">f8")])
def test_lists_and_arrays_of_any_number_are_embeddings(vector: Any) -> None:
    assert observation_to_wire(Observation("x", vector), COSINE).embedding == np.array([1, 2, 3], "<f4").tobytes()


@pytest.mark.parametrize(
    ("observation", "words"),
    [
        (Observation("x", [1.0, 2.0]), r"shape \(2,\); the space has 3 dimensions"),
        (Observation("x", [[1.0, 2.0, 3.0]]), "one row"),  # type: ignore[list-item]
        (Observation("x", ["a", "b", "c"]), "no array of numbers"),  # type: ignore[list-item]
        (Observation("x", [1.0, float("nan"), 2.0]), r"embedding\[1\] is nan; send finite numbers"),
        (Observation("x", [1.0, 2.0, float("-inf")]), r"embedding\[2\] is -inf"),
        (Observation("x", [1e39, 0.0, 0.0]), r"embedding\[0\] is inf"),
        (Observation("x", [0.0, 0.0, 0.0]), "all zeros"),
        (Observation("x", [1e-30, 0.0, 0.0]), "all zeros as stored"),
        (Observation("x", [1.0, -1e6, 0.0]), r"embedding\[1\] is -1000000.0, over 65504"),
        (Observation(" \n", [1.0, 2.0, 3.0]), "text is empty"),
        (Observation("ä" * 33_000, [1.0, 2.0, 3.0]), "text has over 65536 bytes; split it"),
        (Observation("\ud800", [1.0, 2.0, 3.0]), "valid Unicode"),
        (Observation("x", [1.0, 2.0, 3.0], id="x" * 257), "id has over 256 bytes"),
        (Observation("x", [1.0, 2.0, 3.0], metadata={"k": float("nan")}), "'k' is nan; send a finite number"),
        (Observation("x", [1.0, 2.0, 3.0], metadata={"k": 2**63}), "64 bits"),
        (Observation("x", [1.0, 2.0, 3.0], metadata={"k": None}), "'k' is a NoneType"),  # type: ignore[dict-item]
        (Observation("x", [1.0, 2.0, 3.0], metadata={"k": "x" * 17_000}), "metadata has 17001 bytes"),
        (Observation("x", [1.0, 2.0, 3.0], metadata={str(at): 1 for at in range(65)}), "65 entries"),
        (Observation("x", [1.0, 2.0, 3.0], datetime.datetime(2026, 1, 1)), "no zone"),
        (Observation("x", [1.0, 2.0, 3.0], 1.5), "time is a float"),  # type: ignore[arg-type]
    ],
)
def test_each_bad_observation_is_refused_by_name(observation: Observation, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as told:
        observation_to_wire(observation, COSINE)
    assert isinstance(told.value, engram.Refused) and isinstance(told.value, ValueError)


def test_half_floats_are_judged_as_they_are_rounded() -> None:
    """Against numpy's own rounding, around both ends of what a half float holds."""
    around = [2.0**-25, 2.0**-24, 65504.0, 65519.99, 65520.0, 65536.0]
    for value in [np.nextafter(np.float32(v), np.float32(to)) for v in around for to in (0, v, 1e9)]:
        vector = np.array([value, 0, 0], "<f4")
        with np.errstate(over="ignore"):
            half = vector.astype("<f2")
        good = bool(np.isfinite(half).all() and half.any())
        try:
            check_vectors(vector, COSINE, "embedding")
            assert good, value
        except InvalidArgument:
            assert not good, value
        assert check_vectors(vector, SINGLE, "embedding") is not None


def test_times_are_cut_to_the_millisecond() -> None:
    utc = datetime.timezone.utc
    assert time_to_ms(datetime.datetime(1970, 1, 1, 0, 0, 1, 999, tzinfo=utc)) == 1000
    assert time_to_ms(datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=utc)) == -1
    zone = datetime.timezone(datetime.timedelta(hours=2))
    assert time_to_ms(datetime.datetime(1970, 1, 1, 2, 0, 1, tzinfo=zone)) == 1000


def test_filters_combine_and_are_bounded() -> None:
    where = (field("a").one_of(1, "x") | ~field("b").exists()) & field("c").range(at_least=1) & time_range(5, until=9)
    wire = where_to_wire(where)
    assert wire is not None and wire.all.filters[1].time.until_ms == 9
    equal = where_to_wire({"topic": "fish", "year": [2025, 2026]})
    assert equal is not None and [len(each.one_of.values) for each in equal.all.filters] == [1, 2]
    deep = field("a").exists()
    for _ in range(limits.FILTER_DEPTH_MAX):
        deep = ~deep
    for bad, words in (
        (deep, "nested deeper than 8"),
        ({"k": list(range(256))}, "parts and values; at most 256"),
        ({"": 1}, "key is empty"),
        ("topic=fish", "where is a str"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            where_to_wire(bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="no bound"):
        field("a").range()
    with pytest.raises(InvalidArgument, match="no bound"):
        time_range()


def test_columns_are_checked_whole_and_other_rows_up_to_the_wrong_one() -> None:
    texts, good = [f"row {at}" for at in range(600)], np.ones((600, 3))
    bad = good.copy()
    bad[300, 1] = np.nan
    with pytest.raises(InvalidArgument, match=r"row 300: embedding\[1\] is nan"):
        chunks(columns(texts, bad), COSINE)
    source, count = chunks(zip(texts, bad), COSINE)
    assert count is None and len(next(source)) == 256 and len(next(source)) == 44
    with pytest.raises(InvalidArgument, match=r"row 300: embedding\[1\] is nan"):
        next(source)
    source, count = chunks(columns(texts, good, time_ms=5, ids=texts), COSINE)
    rows = [row for chunk in source for row in chunk]
    assert count == 600 and [row.id for row in rows] == texts and {row.time_ms for row in rows} == {5}
    with pytest.raises(InvalidArgument, match="ids has 1 rows, texts 600"):
        columns(texts, good, ids=["one"])
    with pytest.raises(InvalidArgument, match=r"shape \(600, 2\)"):
        chunks(columns(texts, np.ones((600, 2))), COSINE)
    for wrong in ("rows", 5):
        with pytest.raises(InvalidArgument, match="give columns, a frame or an iterable"):
            chunks(wrong, COSINE)  # type: ignore[arg-type]
    source, _ = chunks([{"text": "x", "embeding": [1, 2, 3]}], COSINE)
    with pytest.raises(InvalidArgument, match="embeding"):
        next(source)


def test_only_host_and_port_make_an_endpoint() -> None:
    for good in ["a:1", "127.0.0.1:7101", "[::1]:7101", "node-1.example.org:65535"]:
        Pool([good], engram.Timing(), None)
    for bad in ["", "a", "a:", ":1", "a:70000", "http://a:1", "a:1/x", "a:١"]:
        with pytest.raises(InvalidArgument, match="write host:port"):
            Pool([bad], engram.Timing(), None)
    with pytest.raises(InvalidArgument, match="no endpoints"):
        Pool([], engram.Timing(), None)


def test_a_token_only_rises_within_an_incarnation() -> None:
    token = engram.ReadToken(9, 1)
    assert token.raised(engram.ReadToken(7, 1)) == token
    assert token.raised(engram.ReadToken(11, 0)) == engram.ReadToken(11, 1)
    assert token.raised(engram.ReadToken(3, 2)) == engram.ReadToken(3, 2)


def test_the_limits_are_those_of_the_server() -> None:
    source = (Path(__file__).parents[3] / "proto" / "src" / "limits.rs").read_text()
    found = dict(re.findall(r"pub const (\w+): \w+ = ([0-9_ *]+);", source))
    ours = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert ours == {name: eval(found[name]) for name in ours}
