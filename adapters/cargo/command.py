"""What cargo is called with: its arguments and its environment. Pure."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from deployer.adapters.process.programs import search_path
from deployer.model import Crate, Secret

# What a build may see. The rest of the caller's environment may hold tokens, and a build script
# of any dependency reads all that it gets.
ALLOWED: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_*", "TZ", "TMPDIR", "XDG_*_HOME"),
    *("CARGO_*", "RUSTUP_*", "RUSTC", "RUSTC_*", "RUSTFLAGS", "RUST_BACKTRACE", "SCCACHE_*"),
    *("CC", "CC_*", "CXX", "CXX_*", "AR", "AR_*", "CFLAGS", "CFLAGS_*", "CXXFLAGS", "LDFLAGS"),
    *("PKG_CONFIG*", "OPENSSL_*", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "LIBCLANG_PATH"),
    *("PROTOC", "PROTOC_INCLUDE", "SDKROOT", "MACOSX_DEPLOYMENT_TARGET", "SOURCE_DATE_EPOCH"),
    *("SSL_CERT_*", "*_PROXY", "*_proxy", "SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND"),
    "SQLX_OFFLINE",
)
REFUSED: Final = (
    # Publishing needs them, building does not.
    *("CARGO_REGISTRY_TOKEN", "CARGO_REGISTRIES_*_TOKEN"),
    *("CARGO_REGISTRY_SECRET_KEY", "CARGO_REGISTRIES_*_SECRET_KEY"),
    # The Dockerfile copies from the root's target/; --target-dir names it.
    *("CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"),
)
# Width and when go together, or cargo refuses to start. In quiet mode it waits for a lock silently.
SPOKEN: Final = {
    "CARGO_TERM_COLOR": "never",
    "CARGO_TERM_PROGRESS_WHEN": "always",
    "CARGO_TERM_PROGRESS_WIDTH": "80",
    "CARGO_TERM_QUIET": "false",
    "CARGO_TERM_VERBOSE": "false",
}


def cargo_environment(
    environment: Mapping[str, str], database_url: Secret | None, *, sqlx_offline: bool
) -> dict[str, str]:
    """What cargo gets of the caller's `environment`, and the database, which it alone gets."""
    kept = {name: value for name, value in environment.items() if _passes(name)}
    kept |= {**SPOKEN, "PATH": search_path(environment)}
    if database_url:
        kept["DATABASE_URL"] = database_url.reveal()
    if sqlx_offline:
        kept["SQLX_OFFLINE"] = "true"
    return kept


def _passes(name: str) -> bool:
    def among(patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    return among(ALLOWED) and not among(REFUSED)


def target_dir(project_root: Path) -> Path:
    """Where everything is built, whatever workspace a crate belongs to."""
    return project_root / "target"


def build_arguments(project_root: Path, crate: Crate) -> tuple[str, ...]:
    """The arguments of the build of `crate`."""
    return (
        "build",
        "--release",
        "--message-format=json",
        f"--target-dir={target_dir(project_root)}",
        *_selection(crate.manifest, crate.package),
    )


def clean_arguments(project_root: Path, package: str, manifest: Path | None) -> tuple[str, ...]:
    """The arguments that make cargo forget what it built of `package`."""
    return (
        "clean",
        "--release",
        f"--target-dir={target_dir(project_root)}",
        *_selection(manifest, package),
    )


def _selection(manifest: Path | None, package: str | None) -> tuple[str, ...]:
    by_manifest = () if manifest is None else (f"--manifest-path={manifest}",)
    by_package = () if package is None else ("-p", package)
    return (*by_manifest, *by_package)
