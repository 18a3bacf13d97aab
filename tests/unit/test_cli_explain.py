"""Each row of the catalogue and each exit code has its words."""

from pathlib import Path

import pytest

from deployer.behaviours import BEHAVIOURS, Behaviour
from deployer.cli.exit_codes import MEANINGS
from deployer.cli.explain import phase_of
from deployer.explanations import EXPLANATIONS
from deployer.failures import ExitCode, Kind
from deployer.states.flow import State
from tests.fakes.cli import CommandLine


def test_every_failure_is_explained_in_its_own_words() -> None:
    assert set(EXPLANATIONS) == set(Kind)
    assert all(len(text) > 40 and text.endswith(".") for text in EXPLANATIONS.values())


def test_an_explanation_does_not_repeat_the_resolution() -> None:
    assert [kind.id for kind, text in EXPLANATIONS.items() if kind.resolution in text] == []


def test_every_exit_code_has_a_meaning() -> None:
    values = [value for name, value in vars(ExitCode).items() if name.isupper()]
    codes = {value for value in values if isinstance(value, int)} | set(ExitCode.BY_PHASE.values())

    assert set(MEANINGS) == codes


@pytest.mark.parametrize("asked", ["P01", "p01", "registry_auth"])
def test_explain_shows_phase_resolution_and_exit_code(tmp_path: Path, asked: str) -> None:
    text = CommandLine(tmp_path).run("explain", asked).out

    assert text.startswith("P01  registry auth  (Pushing)\n")
    assert "what to do   Check credentials, re-login\n" in text
    assert "resume       goes on in Authenticating\n" in text
    assert "exit code    13\n" in text


@pytest.mark.parametrize("kind", list(Kind))
def test_every_failure_can_be_asked_for(tmp_path: Path, kind: Kind) -> None:
    document = CommandLine(tmp_path).run("explain", kind.id, "--json").document

    assert document["id"] == kind.id
    assert document["failure_exit_code"] > 2


def test_an_unknown_id_names_near_ones(tmp_path: Path) -> None:
    answer = CommandLine(tmp_path).run("explain", "P99")

    assert answer.code == 2
    assert "did you mean P0" in answer.err


def test_a_failure_belongs_to_the_state_of_its_letter() -> None:
    assert phase_of(Kind.REGISTRY_AUTH) is State.PUSHING
    assert phase_of(Kind.CONFIGURATION) is None


def test_no_id_means_two_things() -> None:
    ids = [kind.id for kind in Kind] + [behaviour.id for behaviour in BEHAVIOURS]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda each: each.id)
def test_what_is_no_failure_can_be_asked_for_too(tmp_path: Path, behaviour: Behaviour) -> None:
    cli = CommandLine(tmp_path)

    assert cli.run("explain", behaviour.id).out.startswith(f"{behaviour.id}  {behaviour.name}  (")
    assert cli.run("explain", behaviour.id, "--json").document["text"] == behaviour.text


def test_the_ids_of_a_phase_have_no_gap(tmp_path: Path) -> None:
    known = {each.id for each in (*Kind, *BEHAVIOURS)}
    last = {"B": 17, "I": 23, "A": 11, "P": 18, "D": 19, "T": 21}

    wanted = {f"{phase}{number:02}" for phase, end in last.items() for number in range(1, end + 1)}
    # Never given away: of P, D and T.
    assert wanted - known <= {"T17", "T18", "T19"}
