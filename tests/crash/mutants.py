"""`python -m tests.crash.mutants`: take out one guard at a time; the test that guards it must go red.

Each mutant is applied to a copy of the tree. A guard whose absence no test notices is no guard.
"""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 120.0  # of one mutant; a test that hangs has noticed, too
_COPIED: Final = ("adapters", "deployer", "states", "tests", "pyproject.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One guard less."""

    guard: str
    file: str
    before: str  # found exactly once
    after: str
    test: str  # pytest's words


MUTANTS: Final = (
    Mutant(
        guard="the intent is stored before the POST",
        file="states/deploying.py",
        before="    await world.intend(intent)\n",
        after="",
        test="tests/unit/test_driver.py",
    ),
    Mutant(
        guard="a definite answer is stored before the proof",
        file="states/deploying.py",
        before="        if is_settled_by(answer, run.intent):\n            await world.answered(after)\n",
        after="",
        test="tests/unit/test_driver.py",
    ),
    Mutant(
        guard="a refusal does not close an earlier POST",
        file="states/deploying.py",
        before="return not is_open and earlier is None",
        after="return not is_open",
        test="tests/unit/test_settling.py tests/unit/test_driver.py",
    ),
    Mutant(
        guard="an unanswered POST is settled, not repeated",
        file="states/deploying.py",
        before="    if run.intent is not None:\n",
        after="    if run.intent is not None and run.intent.attempt > 99:\n",
        test="tests/unit/test_driver.py",
    ),
    Mutant(
        guard="the settle window passes in full",
        file="states/settling.py",
        before="            case Trace.NONE_YET if left <= 0 and",
        after="            case Trace.NONE_YET if",
        test="tests/unit/test_driver.py",
    ),
    Mutant(
        guard="an answer as old as a pause does not end the settle window",
        file="states/settling.py",
        before="        left = deadline - world.clock.monotonic()\n"
        "        status = await world.api.status(run.plan.request.tenant)\n",
        after="        status = await world.api.status(run.plan.request.tenant)\n"
        "        left = deadline - world.clock.monotonic()\n",
        test="tests/crash/test_pause.py -k settle_window",
    ),
    Mutant(
        guard="one key a run",
        file="states/deploying.py",
        before="        key=run.plan.key + suffix,",
        after='        key=f"{run.plan.key}{run.intent.attempt if run.intent else 0}",',
        test="tests/crash/test_answers.py -k with_keys",
    ),
    Mutant(
        guard="the key is sent",
        file="adapters/management/api.py",
        before='"idempotency-key": key}',
        after="}",
        test="tests/unit/test_management.py",
    ),
    Mutant(
        guard="a newer deploy of somebody else's is not undone",
        file="states/settling.py",
        before="        return Trace.OVERTAKEN\n",
        after="        pass\n",
        test="tests/unit/test_settling.py",
    ),
    Mutant(
        guard="an earlier deploy of the same image is not taken for ours",
        file="states/settling.py",
        before="    return intent.previous_image != intent.image\n",
        after="    return True\n",
        test="tests/unit/test_settling.py",
    ),
    Mutant(
        guard="a word that nobody foresaw is no success",
        file="deployer/verdict.py",
        before="return Verdict.FAILED if word in _FAILED else Verdict.PENDING",
        after="return Verdict.FAILED if word in _FAILED else Verdict.READY",
        test="tests/unit/test_verdict.py",
    ),
    Mutant(
        guard="an unanswered POST blocks the next deploy",
        file="deployer/planning.py",
        before="    if run is None or run.intent is None or run.abandoned:\n",
        after="    if run is not None or run is None:\n",
        test="tests/unit/test_api.py tests/unit/test_driver.py",
    ),
    Mutant(
        guard="a failure beside an unanswered POST does not hide it",
        file="deployer/driver.py",
        before="        if not isinstance(outcome, Failure) or self.run.intent is None:\n",
        after="        if not isinstance(outcome, Failure) or self.run.intent is not None:\n",
        test="tests/unit/test_driver.py",
    ),
    Mutant(
        guard="a finished run that nobody heard of is reported, not repeated",
        file="deployer/planning.py",
        before="    if latest is None or latest.state is not State.DONE or latest.acknowledged:\n",
        after="    if True:\n",
        test="tests/unit/test_api.py",
    ),
    Mutant(
        guard="a result is acknowledged only after it was shown",
        file="deployer/cli/running.py",
        before="            _show(carriage, ended)\n            # The last thing",
        after="            await deployer.acknowledge(RunId(ended.run or ''))\n"
        "            await anyio.sleep(0.5)\n"
        "            _show(carriage, ended)\n            # The last thing",
        test="tests/unit/test_guards.py -k heard",
    ),
    Mutant(
        guard="the fence and the sequence are compared",
        file="adapters/journal/journal.py",
        before="where id = :id and fence = :fence_before and seq = :seq_before and state = :state_before",
        after="where id = :id and coalesce(:fence_before, :seq_before, :state_before) is not null",
        test="tests/unit/test_journal.py",
    ),
    Mutant(
        guard="an event is in the same transaction as its move",
        file="adapters/journal/journal.py",
        before="            _insert_event(connection, replace(written, state=before.state), kind, data)\n",
        after="        with self._transaction() as connection:\n"
        "            _insert_event(connection, replace(written, state=before.state), kind, data)\n",
        test="tests/unit/test_guards.py -k transaction",
    ),
    Mutant(
        guard="each commit is on the disk",
        file="adapters/journal/file.py",
        before='            connection.execute("pragma synchronous = full")\n',
        after='            connection.execute("pragma synchronous = normal")\n',
        test="tests/unit/test_guards.py -k disk",
    ),
    Mutant(
        guard="a note that is not waited for leaves the next commit on the disk",
        file="adapters/journal/file.py",
        before='        connection.execute("pragma synchronous = full")\n\n\n',
        after="        pass\n\n\n",
        test="tests/unit/test_guards.py -k note",
    ),
    Mutant(
        guard="a write is not cut by a cancellation",
        file="adapters/journal/journal.py",
        before="        with anyio.CancelScope(shield=True):\n            result = await anyio.to_thread.run_sync(\n"
        "                lambda: function(*values), limiter=self._one_at_a_time\n            )\n",
        after="        with anyio.CancelScope():\n            result = await anyio.to_thread.run_sync(\n"
        "                lambda: function(*values), limiter=self._one_at_a_time, abandon_on_cancel=True\n            )\n",
        test="tests/unit/test_guards.py -k waits",
    ),
    Mutant(
        guard="finished work is recorded although the run is cancelled",
        file="deployer/driver.py",
        before="                with anyio.CancelScope(shield=True):\n                    await self._take(flow, outcome, began)",
        after="                with anyio.CancelScope():\n                    await anyio.lowlevel.checkpoint()\n"
        "                    await self._take(flow, outcome, began)",
        test="tests/unit/test_guards.py -k cancelled_in_the_moment",
    ),
    Mutant(
        guard="a run is carried by a child task",
        file="deployer/api.py",
        before="                group.start_soon(alone)\n",
        after="                await alone()\n",
        test="tests/unit/test_guards.py -k twice",
    ),
    Mutant(
        guard="a cancelled POST may still hear its answer",
        file="states/deploying.py",
        before="POST_GRACE_SECONDS: Final = 2.0",
        after="POST_GRACE_SECONDS: Final = 0.0",
        test="tests/unit/test_guards.py -k grace",
    ),
    Mutant(
        guard="the machine refuses a move that is not in the table",
        file="states/machine.py",
        before="        if moved is not True or self.state is not row.dest:\n",
        after="        if False:\n",
        test="tests/unit/test_machine.py",
    ),
    Mutant(
        guard="one process a tenant",
        file="adapters/journal/lock.py",
        before="            fcntl.fcntl(handle, fcntl.F_OFD_SETLK, locking())\n",
        after="            pass\n",
        test="tests/unit/test_turn.py tests/unit/test_journal.py",
    ),
    Mutant(
        guard="one open run a tenant",
        file="adapters/journal/journal.py",
        before="            connection.execute(_ABANDON, values)\n",
        after="",
        test="tests/unit/test_journal.py tests/unit/test_api.py",
    ),
    Mutant(
        guard="an ended build is no built image",
        file="adapters/docker/build.py",
        before="        if self._stream.image_id is None:\n",
        after="        if self._stream.image_id is None and (\n"
        "            found := await inspected(engine, self._tag)\n"
        "        ):\n"
        "            return self._checked(found.image_id, found)\n"
        "        if self._stream.image_id is None:\n",
        test="tests/unit/test_docker.py",
    ),
    Mutant(
        guard="an ended push is no pushed image",
        file="adapters/docker/push.py",
        before="        if self._stream.digest is None:\n",
        after="        if False:\n",
        test="tests/recorded/test_engine_recordings.py tests/unit/test_docker.py",
    ),
    Mutant(
        guard="the login does not follow an engine's redirect",
        file="adapters/docker/client.py",
        before="    trace.on_request_redirect.append(_refuse_redirect)\n",
        after="",
        test="tests/unit/test_docker.py",
    ),
    Mutant(
        guard="the registry confirms the digest",
        file="states/pushing.py",
        before="    if seen == pushed:\n",
        after="    if True:\n",
        test="tests/unit/test_guards.py -k overwrote",
    ),
    Mutant(
        guard="binaries are what Building left",
        file="states/imaging.py",
        before="    if damaged:\n",
        after="    if False:\n",
        test="tests/unit/test_driver.py",
    ),
    Mutant(
        guard="the image is the one that Imaging left",
        file="states/pushing.py",
        before="    if found != image.image_id:\n",
        after="    if False:\n",
        test="tests/unit/test_driver.py",
    ),
    Mutant(
        guard="the tag still points at what was pushed",
        file="states/verifying.py",
        before="    if wanted not in (None, seen):\n",
        after="    if False:\n",
        test="tests/unit/test_driver.py tests/unit/test_api.py",
    ),
    Mutant(
        guard="a run's image has a name of its own",
        file="states/imaging.py",
        before='    return f"deployer-run:{run.id}"',
        after='    return f"deployer-run:{run.plan.request.app}"',
        test="tests/unit/test_guards.py -k name_of_its_own",
    ),
    Mutant(
        guard="what a status can never tell is not waited for and sent again",
        file="states/settling.py",
        before="return status.image != intent.image or (",
        after="return True or (",
        test="tests/unit/test_settling.py tests/unit/test_hard_cases.py -k tells",
    ),
    Mutant(
        guard="the word for an earlier deploy is not ours",
        file="states/proving.py",
        before="    if tells is Whose.EARLIER:\n",
        after="    if False:\n",
        test="tests/unit/test_hard_cases.py -k before",
    ),
    Mutant(
        guard="a tag that was moved after the POST is left alone",
        file="states/verifying.py",
        before="    if run.intent is not None and seen is not None:\n",
        after="    if False:\n",
        test="tests/unit/test_hard_cases.py -k overwrites",
    ),
    Mutant(
        guard="a run is touched behind its own tenant's lock alone",
        file="deployer/api.py",
        before="return run if run is not None and run.plan.request.tenant == tenant else None",
        after="return run",
        test="tests/unit/test_hard_cases.py -k own_tenant",
    ),
    Mutant(
        guard="a run's tag is its own",
        file="deployer/planning.py",
        before="next(tag for tag in invented if tag not in taken)",
        after="next(invented)",
        test="tests/unit/test_api.py -k within_a_second",
    ),
    Mutant(
        guard="resumes without progress end",
        file="deployer/driver.py",
        before="        if self.run.stalled <= STALLED_MAX:\n",
        after="        if True:\n",
        test="tests/unit/test_driver.py -k further",
    ),
    Mutant(
        guard="moves without an end end",
        file="deployer/driver.py",
        before="MOVES_MAX: Final = 30",
        after="MOVES_MAX: Final = 30_000",
        test="tests/unit/test_guards.py -k again_and_again",
    ),
    Mutant(
        guard="who stood still hears and looks before cargo is judged",
        file="adapters/cargo/watch.py",
        before="            await self._look_around(pid)\n            if self._is_locked:\n",
        after="            if self._is_locked:\n",
        test="tests/unit/test_cargo.py -k stood",
    ),
    Mutant(
        guard="a build's processes end with the tool",
        file="adapters/process/guard.py",
        before="    return LIFE_LINE in readable and not os.read(LIFE_LINE, 4096)\n",
        after="    return False\n",
        test="tests/unit/test_guard.py",
    ),
    Mutant(
        guard="a group that a build's command made for itself ends with it",
        file="adapters/process/guard.py",
        before="    if os.getsid(0) == guard:\n",
        after="    if False:\n",
        test="tests/unit/test_guard.py -k group",
    ),
    Mutant(
        guard="the journal is made whole",
        file="adapters/journal/file.py",
        before="        fresh = state_dir / MAKING\n",
        after="        fresh = path\n",
        test="tests/unit/test_guards.py -k making",
    ),
    Mutant(
        guard="a foreign database is no journal",
        file="adapters/journal/file.py",
        before="    if found != APPLICATION_ID:\n",
        after="    if False:\n",
        test="tests/unit/test_journal.py",
    ),
    Mutant(
        guard="a lost write-ahead log is damage",
        file="adapters/journal/file.py",
        before="    if _log_is_lost(path):\n",
        after="    if False:\n",
        test="tests/unit/test_journal.py",
    ),
    Mutant(
        guard="damaged pages are found",
        file="adapters/journal/file.py",
        before='    if verdict != "ok":\n',
        after="    if False:\n",
        test="tests/unit/test_journal.py",
    ),
    Mutant(
        guard="an image is looked for under the base images that it was built on",
        file="adapters/docker/known_images.py",
        before="[planned.mark, *bases]",
        after="[planned.mark]",
        test="tests/unit/test_docker_again.py",
    ),
    Mutant(
        guard="a base that moved during a build is not taken for the one that was built on",
        file="adapters/docker/again.py",
        before=" or not all(map(_same, before, bases))",
        after="",
        test="tests/unit/test_docker_again.py",
    ),
    Mutant(
        guard="what is packed is settled: a later change would be seen",
        file="adapters/docker/engine.py",
        before="        await anyio.sleep(again.unsettled_seconds())\n",
        after="",
        test="tests/unit/test_docker_again.py",
    ),
    Mutant(
        guard="an image that was not pushed counts as pushed by the registry's word alone",
        file="adapters/docker/again.py",
        before="isinstance(await self.registry.retag(target, known, login), Failure)",
        after="await self.registry.retag(target, known, login) is ...",
        test="tests/unit/test_docker_again.py",
    ),
)


async def main(wanted: list[str]) -> int:
    """Try each mutant whose guard contains one of `wanted`; 1 if any of them stays green."""
    chosen = [m for m in MUTANTS if not wanted or any(word in m.guard for word in wanted)]
    verdicts: list[str] = []
    for mutant in chosen:
        verdict = await tried(mutant)
        verdicts.append(verdict)
        sys.stdout.write(f"{verdict:<9} {mutant.guard}\n")
        sys.stdout.flush()
    red = verdicts.count("red")
    sys.stdout.write(f"{red} of {len(chosen)} mutants red\n")
    return 0 if red == len(chosen) else 1


async def tried(mutant: Mutant) -> str:
    """`red` when a test noticed, `GREEN` when none did, `STALE` when it cannot be applied."""
    with tempfile.TemporaryDirectory(prefix="deployer-mutant-") as name:
        tree = Path(name) / "tree"
        await anyio.to_thread.run_sync(_copy, tree)
        file = tree / mutant.file
        text = file.read_text()
        if text.count(mutant.before) != 1:
            return "STALE"
        file.write_text(text.replace(mutant.before, mutant.after))
        return await _judged(tree, mutant.test.split())


def _copy(tree: Path) -> None:
    for each in _COPIED:
        source = ROOT / each
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "target")
            shutil.copytree(source, tree / each, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, tree / each)


async def _judged(tree: Path, words: list[str]) -> str:
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *words]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    with anyio.move_on_after(SECONDS):
        ended = await anyio.run_process(argv, cwd=tree, env=environment, check=False)
        if ended.returncode == 1 or ended.returncode < 0:  # a test failed, or crashed Python
            return "red"
        # Else than 0, it is a mistake of this list's: no such test, for example.
        return f"BROKEN {ended.returncode}" if ended.returncode else "GREEN"
    return "red"


if __name__ == "__main__":
    sys.exit(anyio.run(main, sys.argv[1:]))
