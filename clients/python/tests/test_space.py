"""The whole surface, without asyncio, against three nodes."""

from __future__ import annotations

import datetime
import threading

import engram
import numpy as np
import pytest
from cluster import Cluster, eventually
from engram import ErrorKind, field, time_range


def circle(count: int) -> engram.Columns:
    """Memories a hundredth of a radian apart, from [1, 0] on."""
    angles = np.arange(count) / 100
    metadata = [{"kind": "fish" if at % 2 else "bird", "number": at} for at in range(count)]
    texts, ids = [f"memory {at}" for at in range(count)], [f"id-{at}" for at in range(count)]
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return engram.columns(texts, vectors, time_ms=list(range(count)), metadata=metadata, ids=ids)


def texts(rows: engram.Answer | engram.Listing) -> list[str]:
    return [row.text for row in rows]


def test_what_was_observed_is_recalled_by_default_on_every_node(client: engram.Client, name: str) -> None:
    space = client.space(name, dim=4)
    ack = space.observe("the kettle is on", [0.1, 0.9, 0.0, 0.0], metadata={"place": "kitchen"})
    assert ack.sequence == 1 and ack.log_index > 0 and not ack.repeat
    for endpoint in client.endpoints:
        answer = client.on(endpoint).space(name).recall([0.1, 0.8, 0.0, 0.0], k=3)
        assert texts(answer) == ["the kettle is on"]
        assert answer.snapshot.applied_index >= ack.log_index
        assert answer[0].metadata == {"place": "kitchen"} and answer[0].embedding is None


def test_a_space_is_made_once_and_must_be_what_is_asked_for(client: engram.Client, name: str) -> None:
    made = client.space(name, 8, metric="dot", precision="f32", ttl_ms=60_000)
    assert (made.info.metric, made.info.precision, made.info.ttl_ms) == ("dot", "f32", 60_000)
    again = client.space(name, 8)
    assert again.info.id == made.info.id and client.space(name).dim == 8
    for other in ({"dim": 9}, {"dim": 8, "metric": "l2"}, {"dim": 8, "precision": "f16"}):
        with pytest.raises(engram.Refused, match="exists with") as told:
            client.space(name, **other)  # type: ignore[arg-type]
        assert told.value.kind == ErrorKind.EXISTS
    for bad in ({"dim": 1}, {"dim": 8, "metric": "cosin"}, {"dim": 8, "precision": "f64"}, {"dim": 8, "ttl_ms": 1}):
        with pytest.raises(engram.InvalidArgument):
            client.space(name, **bad)  # type: ignore[arg-type]
    assert name in {space.name for space in client.spaces()}
    numbers = [space.observe("x", [1.0] * 8).sequence for space in (made, again, client.space(name))]
    assert numbers == [1, 2, 3]
    client.drop_space(name)
    with pytest.raises(engram.Refused, match="create it") as told:
        client.space(name)
    assert told.value.kind == ErrorKind.NOT_FOUND
    with pytest.raises(engram.Refused) as told:
        client.drop_space(name)
    assert told.value.kind == ErrorKind.NOT_FOUND


def test_recalls_filter_by_metadata_time_and_score(client: engram.Client, name: str) -> None:
    space = client.space(name, 2)
    assert space.observe_many(circle(300)).acked == 300
    cue = [1.0, 0.0]
    assert texts(space.recall(cue, 2)) == ["memory 0", "memory 1"]
    assert texts(space.recall(cue, 2, where={"kind": "fish"})) == ["memory 1", "memory 3"]
    assert texts(space.recall(cue, 3, where={"number": [7, 9, 200]})) == ["memory 7", "memory 9", "memory 200"]
    assert texts(space.recall(cue, 1, where=field("number").range(at_least=50, less_than=60))) == ["memory 50"]
    assert texts(space.recall(cue, 1, where=~field("kind").one_of("bird") & time_range(100))) == ["memory 101"]
    soon = datetime.datetime.fromtimestamp(0.004, datetime.timezone.utc)
    assert space.count(time_range(until=soon)).count == 4
    near = space.recall(cue, 100, score_min=0.9995)
    assert texts(near) == ["memory 0", "memory 1", "memory 2", "memory 3"] and near[3].score >= 0.9995
    # More hits than a page holds.
    assert len(space.recall(cue, 250)) == 250
    hit = space.recall(cue, 1, with_embedding=True)[0]
    assert hit.embedding is not None and hit.embedding.tolist() == [1.0, 0.0] and hit.id == "id-0"


def test_every_consistency_is_answered_and_the_past_stays_as_it_was(client: engram.Client, name: str) -> None:
    space = client.space(name, 2)
    first = space.observe("first", [1.0, 0.0])
    second = space.observe("second", [1.0, 0.1])
    for consistency in ("session", "linearizable", engram.AtLeast(client.token), engram.Bounded(0)):
        answer = space.recall([1.0, 0.0], 5, consistency=consistency)  # type: ignore[arg-type]
        assert texts(answer) == ["first", "second"], consistency
        assert answer.snapshot.read_index is not None or consistency != "linearizable"
    assert len(space.recall([1.0, 0.0], 5, consistency="eventual")) <= 2
    assert texts(space.recall([1.0, 0.0], 5, at_index=first.log_index)) == ["first"]
    assert texts(space.recall([1.0, 0.0], 5, at_index=second.log_index)) == ["first", "second"]
    for index, expected in ((first.log_index, ["first"]), (second.log_index, ["first", "second"])):
        listing = space.list(at_index=index)
        assert ([row.text for row in listing], listing.snapshot.applied_index) == (expected, index)
    with pytest.raises(engram.ReadError) as told:
        space.recall([1.0, 0.0], 5, at_index=1)
    assert told.value.kind == ErrorKind.BELOW_FLOOR
    with pytest.raises(engram.ReadError) as told:
        space.recall([1.0, 0.0], 5, consistency=engram.AtLeast(engram.ReadToken(10**9)), deadline_s=0.3)
    assert told.value.kind == ErrorKind.BEHIND
    for bad in ({"k": 0}, {"k": 1001}, {"consistency": "strong"}, {"at_index": 9, "consistency": "session"}, {"at_index": -1}, {"ef": -1}):
        with pytest.raises(engram.InvalidArgument):
            space.recall([1.0, 0.0], **bad)  # type: ignore[arg-type]
    with pytest.raises(engram.InvalidArgument, match="cue has shape"):
        space.recall([1.0, 0.0, 0.0])


def test_another_clients_writes_are_seen_with_its_token(three: Cluster, client: engram.Client, name: str) -> None:
    ack = client.space(name, 2).observe("mine", [1.0, 0.0])
    assert client.token.log_index >= ack.log_index
    with engram.connect(three.endpoints) as other:
        assert other.token.log_index < ack.log_index
        other.adopt(client.token)
        for endpoint in other.endpoints:
            assert texts(other.on(endpoint).space(name).recall([1.0, 0.0])) == ["mine"]


def test_what_is_forgotten_is_in_no_later_answer(client: engram.Client, name: str) -> None:
    space = client.space(name, 2)
    space.observe_many(circle(10))
    before = client.token.log_index
    assert space.forget([0, 1]).rows == 2
    assert space.forget([0, 1]).rows == 0
    assert space.forget(ids=["id-2", "nobody"]).rows == 1
    assert space.forget(where={"kind": "fish"}).rows == 4
    assert texts(space.list()) == ["memory 4", "memory 6", "memory 8"]
    assert [row.row for row in space.get([4, 3, 8])] == [4, 8]
    assert [row.id for row in space.get(ids=["id-6", "id-2"])] == ["id-6"]
    assert len(space.recall([1.0, 0.0], 10, at_index=before)) == 10
    erased = space.forget(older_than_ms=0, erase=True)
    assert erased.rows == 3 and erased.floor > before and space.count().count == 0
    for endpoint in client.endpoints:
        pinned = client.on(endpoint).space(name)
        # A read of the past waits for no token; this does, and then the node has erased too.
        assert pinned.count().count == 0
        with pytest.raises(engram.ReadError) as told:
            pinned.recall([1.0, 0.0], 10, at_index=before)
        assert told.value.kind == ErrorKind.BELOW_FLOOR
    for nothing in ({}, {"rows": []}, {"rows": [1], "ids": ["a"]}, {"ids": [""]}, {"rows": [2**32]}):
        with pytest.raises(engram.InvalidArgument):
            space.forget(**nothing)  # type: ignore[arg-type]


def test_an_id_replaces_the_row_that_had_it(client: engram.Client, name: str) -> None:
    space = client.space(name, 2)
    space.observe("tea", [1.0, 0.0], id="drink")
    space.observe("coffee", [1.0, 0.0], id="drink")
    assert texts(space.recall([1.0, 0.0], 5)) == ["coffee"]


def test_a_watch_gives_each_row_once_from_where_it_is_told_to(client: engram.Client, name: str) -> None:
    space = client.space(name, 2)
    space.observe("before", [1.0, 0.0])
    begun = client.token.log_index
    with space.watch() as watcher:
        assert watcher.next(0.0) is None
        late = threading.Thread(target=lambda: space.observe_many(circle(50)))
        late.start()
        seen: list[str] = []
        for change in watcher:
            seen += [row.text for row in change.rows]
            if len(seen) >= 50:
                break
        late.join()
        assert seen == [f"memory {at}" for at in range(50)]
        space.forget([3])
        forgotten = eventually("the forget", lambda: change.forgotten if (change := watcher.next(5.0)) else None)
        assert forgotten == (3,)
    with space.watch(after_log_index=begun, where={"kind": "fish"}) as again:
        # What was forgotten meanwhile is left out.
        rows = eventually("the past", lambda: change.rows if (change := again.next(5.0)) else None)
        assert [row.text for row in rows] == [f"memory {at}" for at in range(1, 50, 2) if at != 2]
        client.drop_space(name)
        with pytest.raises(engram.ReadError) as told:
            for _ in again:
                pass
        assert told.value.kind == ErrorKind.NOT_FOUND


def test_a_wrong_row_of_an_iterable_ends_the_load_after_those_before_it(client: engram.Client, name: str) -> None:
    space = client.space(name, 2)
    rows = [("good", [1.0, 0.0])] * 5 + [("bad", [1.0])] + [("never", [1.0, 0.0])]
    with pytest.raises(engram.InvalidArgument, match=r"row 5: embedding has shape \(1,\)") as told:
        space.observe_many(iter(rows))
    summary = told.value.summary
    assert summary is not None and (summary.rows, summary.acked) == (5, 5)
    assert space.count().count == 5

    def fails() -> object:
        yield "good", [1.0, 0.0]
        raise KeyError("the source's own")

    with pytest.raises(KeyError, match="the source's own"):
        space.observe_many(fails())  # type: ignore[arg-type]
    assert space.count().count == 6
    assert space.observe_many([]).rows == 0


def test_searchable_on_every_node_is_recalled_at_the_lowest_level(client: engram.Client, name: str) -> None:
    options = engram.ObserveOptions(stage="searchable", searchable_nodes=3)
    space = client.space(name, 2, options=options)
    space.observe("there", [1.0, 0.0])
    for endpoint in client.endpoints:
        assert texts(client.on(endpoint).space(name).recall([1.0, 0.0], consistency="eventual")) == ["there"]
    with pytest.raises(engram.InvalidArgument, match="stage is 'done'"):
        client.space(name, options=engram.ObserveOptions(stage="done"))  # type: ignore[arg-type]


def test_a_status_is_of_the_node_that_is_asked(client: engram.Client) -> None:
    statuses = [client.status(endpoint) for endpoint in client.endpoints]
    assert [status.node for status in statuses] == [1, 2, 3]
    assert sorted(status.role for status in statuses) == ["follower", "follower", "leader"]
    assert {member.client_address for member in statuses[0].members} == set(client.endpoints)
    assert all(status.not_ready_reason == "" and status.applied > 0 for status in statuses)


def test_one_client_serves_several_threads(client: engram.Client, name: str) -> None:
    space = client.space(name, 2)
    threads = [threading.Thread(target=lambda: space.observe_many(circle(200))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Ids replace: of the four that had each id one is left.
    assert space.count().count == 200
    assert space.list().snapshot.rows == 800
