"""What an engine says while it works, as events."""

from deployer.adapters.docker.streams import BuildStream, PushStream, Teller
from deployer.events import OutputLine, Progress, Transient, Waiting


class Told:
    """What was emitted, with a clock that a test moves."""

    def __init__(self) -> None:
        self.events: list[Transient] = []
        self.now = 0.0
        self.teller = Teller(self.events.append, lambda: self.now)


def layer(name: str, done: int, total: int = 100) -> Progress:
    return Progress(what=f"layer {name}", done=done, total=total, unit="bytes")


def pushing(name: str, done: int, total: int = 100) -> dict[str, object]:
    detail = {"current": done, "total": total}
    return {"status": "Pushing", "id": name, "progressDetail": detail}


def retrying(name: str, seconds: int) -> dict[str, object]:
    return {"status": f"Retrying in {seconds} seconds", "id": name, "progressDetail": {}}


def test_lines_are_put_together_from_pieces_and_made_safe() -> None:
    told = Told()
    stream = BuildStream(told.teller)

    for piece in ("half a ", "line\n\nnext\n", "\x1b[91mred\x1b[0m", "\n", "no end"):
        stream.take({"stream": piece})
    stream.flush()

    assert told.events == [
        OutputLine(source="engine", text=text) for text in ("half a line", "next", "red", "no end")
    ]


def test_a_line_without_an_end_does_not_grow_for_ever() -> None:
    told = Told()
    stream = BuildStream(told.teller)

    for _ in range(100):
        stream.take({"stream": "." * 400})

    assert len(told.events) == 50
    assert len(told.teller.tail) == 20


def test_steps_count_as_done_when_the_next_one_begins() -> None:
    told = Told()
    stream = BuildStream(told.teller)

    for line in ("Step 1/2 : FROM a\n", "[1/1] STEP 2/2: COPY b c\n"):
        told.now += 1
        stream.take({"stream": line})
    stream.finish()

    steps = [event for event in told.events if isinstance(event, Progress)]
    assert [(step.what, step.done, step.total) for step in steps] == [
        ("steps", 0, 2),
        ("steps", 1, 2),
        ("steps", 2, 2),
    ]


def test_what_is_no_engines_line_is_passed_over() -> None:
    told = Told()

    lines: list[object] = [None, 7, [], {}, {"aux": {"ID": "x"}}, {"aux": "text"}, {"status": 1}]
    for line in lines:
        BuildStream(told.teller).take(line)
        PushStream(told.teller).take(line)

    assert told.events == []


def test_progress_is_told_ten_times_a_second_and_each_layer_gets_its_turn() -> None:
    told = Told()
    stream = PushStream(told.teller)

    for done in range(1, 101):
        told.now += 0.01
        for name in ("a", "b", "c"):
            stream.take(pushing(name, done, total=1000))

    # One at first for each, then one each 0.1 s.
    assert 3 + 9 <= len(told.events) <= 3 + 11
    names = [event.what for event in told.events if isinstance(event, Progress)]
    assert {names.count(f"layer {name}") for name in ("a", "b", "c")} <= {4, 5}


def test_the_last_word_of_a_layer_is_told_once_and_at_once() -> None:
    told = Told()
    stream = PushStream(told.teller)

    for done in (10, 100, 100, 120):  # the engine counts past the end
        stream.take(pushing("a", done))
    stream.take({"status": "Pushed", "id": "a", "progressDetail": {}})

    assert told.events == [
        layer("a", 10),
        layer("a", 100),
        OutputLine(source="engine", text="a: Pushed"),
    ]


def test_a_countdown_of_many_layers_is_one_pause() -> None:
    told = Told()
    stream = PushStream(told.teller)

    for pause in (5, 10, 15):
        for left in range(pause, 0, -1):
            stream.take(retrying("a", left))
            stream.take(retrying("b", left))

    assert [event.seconds for event in told.events if isinstance(event, Waiting)] == [5, 10, 15]
    assert len(told.events) == 3


def test_a_layer_that_moves_again_ends_its_pause() -> None:
    told = Told()
    stream = PushStream(told.teller)

    stream.take(retrying("a", 5))
    stream.take(pushing("a", 1))
    stream.take(retrying("a", 5))

    assert len([event for event in told.events if isinstance(event, Waiting)]) == 2


def test_the_registry_has_moved_something_only_when_it_took_bytes_or_layers() -> None:
    told = Told()
    stream = PushStream(told.teller)

    stream.take({"status": "Preparing", "id": "a", "progressDetail": {}})
    stream.take(pushing("a", 0))
    assert not stream.moved

    stream.take({"status": "Layer already exists", "id": "a", "progressDetail": {}})
    assert stream.moved
