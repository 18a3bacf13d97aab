"""Which Dockerfiles qualify for the direct builder, and which line says that one does not."""

import pytest

from deployer.adapters.direct.instructions import qualified
from deployer.adapters.direct.values import RefusedError

DOCUMENT = """\
# The document's Dockerfile.
ARG TAG=bookworm-slim
FROM --platform=linux/amd64 debian:$TAG AS app
WORKDIR /app
COPY --chown=1000 target/release/systemprompt /app/bin/
COPY ["core/web/dist", "/app/web/dist/"]
ENV HOST=0.0.0.0 PORT=8080
LABEL a=b
EXPOSE 8080
USER 1000
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s CMD curl -f localhost
SHELL ["/bin/sh", "-c"]
ENTRYPOINT ["/app/bin/systemprompt"]
CMD ["serve"]
"""

REFUSED = {
    "RUN": ("FROM a\nRUN true\n", "line 2: RUN executes a command"),
    "ADD": ("FROM a\nADD x.tar /\n", "line 2: ADD may fetch or unpack"),
    "ONBUILD": ("FROM a\nONBUILD COPY a b\n", "line 2: ONBUILD"),
    "several stages": ("FROM a\nFROM b\nCOPY x /\n", "line 2: several stages"),
    "copy from a stage": ("FROM a\nCOPY --from=b x /\n", "line 2: COPY --from=b"),
    "copy with link": ("FROM a\n\nCOPY --link x /\n", "line 3: COPY --link"),
    "copy with parents": ("FROM a\nCOPY --parents x /\n", "line 2: COPY --parents"),
    "copy with exclude": ("FROM a\nCOPY --exclude=*.md x /\n", "line 2: COPY --exclude"),
    "heredoc": ("FROM a\nCOPY <<E /x\nhi\nE\n", "line 2: COPY with a heredoc"),
    "scratch": ("FROM scratch\nCOPY x /\n", "line 1: FROM scratch"),
    "another platform": ("FROM --platform=linux/arm64 a\n", "line 1: the platform is linux/arm64"),
    "platform argument": ("ARG TARGETARCH=x\nFROM a\n", "line 1: ARG TARGETARCH"),
    "nothing": ("# only a comment\n", "no FROM"),
    "no stage": ("ARG A=1\n", "no FROM"),
    "setting before FROM": ("LABEL a=b\nFROM a\n", "line 1: LABEL before FROM"),
    "text behind CMD's array": ('FROM a\nCMD ["x"] # y\n', "line 2: CMD with text behind"),
    "a comma behind ENTRYPOINT's array": (
        'FROM a\nENTRYPOINT ["x"],\n',
        "line 2: ENTRYPOINT with text",
    ),
    "text behind HEALTHCHECK's array": (
        'FROM a\nHEALTHCHECK CMD ["x"] y\n',
        "line 2: HEALTHCHECK with text",
    ),
    "text behind VOLUME's array": ('FROM a\nVOLUME ["/x"] y\n', "line 2: VOLUME with text"),
    "a global argument in its own line": (
        "ARG A=1 B=$A\nFROM a:$B\n",
        "line 1: ARG A=1 B=.A: whether B sees",
    ),
    "unknown instruction": ("FROM a\nFETCH x\n", "line 2: unknown instruction: FETCH"),
}


def test_the_document_s_dockerfile_qualifies() -> None:
    program = qualified(DOCUMENT)

    assert program.base == "debian:bookworm-slim"
    assert program.base_line == 3
    assert [step.line for step in program.instructions][:2] == [4, 5]


@pytest.mark.parametrize("command", ["[ -f x ] && y", "[x]", "echo [1]"])
def test_a_shell_s_brackets_are_no_array(command: str) -> None:
    (step,) = qualified(f"FROM a\nCMD {command}\n").instructions

    assert (step.json, step.words) == (False, (command,))


@pytest.mark.parametrize("form", REFUSED)
def test_what_needs_an_engine_is_refused_with_its_line(form: str) -> None:
    text, cause = REFUSED[form]

    with pytest.raises(RefusedError, match=cause):
        qualified(text)
