"""Flags, environment and files, read from real directories."""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.run import WaitPolicy
from deployer.settings.config_file import parse_duration
from deployer.settings.resolve import Loaded, load
from deployer.settings.values import PRODUCTION_API, Flags, Refusal

NOW = 1_800_000_000.0
API = "https://api.example"
ENVIRON = {"HOME": "/home/somebody"}


def jwt(claims: Mapping[str, Any] | None = None) -> str:
    payload = json.dumps({"exp": NOW + 3600} if claims is None else claims)
    middle = base64.urlsafe_b64encode(payload.encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{middle}.c2lnbmF0dXJl"


class Home:
    """A project on disk, as `systemprompt` leaves it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.put("credentials.json", {"api_token": jwt(), "api_url": f"{API}/", "user_email": "u"})
        self.put("tenants.json", {"tenants": [{"id": "acme", "name": "Acme", "app_id": "sp-acme"}]})
        self.profile("target: cloud\ncloud: {tenant_id: acme}\n")

    def put(self, name: str, content: object) -> Path:
        path = self.root / ".systemprompt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def profile(self, text: str, name: str = "prod") -> Path:
        return self.put(f"profiles/{name}/profile.yaml", text)

    def config(self, text: str) -> None:
        (self.root / "deployer.toml").write_text(text)

    def load(
        self, flags: Flags | None = None, environ: Mapping[str, str] | None = None
    ) -> Loaded | tuple[Refusal, ...]:
        chosen = Flags(profile="prod") if flags is None else flags
        return load(chosen, {**ENVIRON, **(environ or {})}, self.root, NOW)

    def loaded(
        self, flags: Flags | None = None, environ: Mapping[str, str] | None = None
    ) -> Loaded:
        found = self.load(flags, environ)
        assert isinstance(found, Loaded), [str(refusal) for refusal in found]
        return found

    def refused(self, flags: Flags | None = None, environ: Mapping[str, str] | None = None) -> str:
        found = self.load(flags, environ)
        assert not isinstance(found, Loaded)
        return "\n".join(str(refusal) for refusal in found)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_logged_in_project_with_a_profile_needs_nothing_else(home: Home) -> None:
    found = home.loaded()

    assert found.settings.api_url == API
    assert found.settings.api_token.reveal() == jwt()
    assert found.settings.state_dir == Path("/home/somebody/.local/state/deployer")
    assert found.project.root == home.root
    assert (found.project.tenant, found.project.tenant_name) == ("acme", "Acme")
    assert found.project.app == "sp-acme"
    assert found.project.profile == "prod"
    assert found.project.dockerfile == Path(".systemprompt/Dockerfile")
    assert found.project.wait == WaitPolicy()
    assert found.project.token_expires_at == NOW + 3600
    assert found.project.warnings == ()


def test_the_root_is_the_nearest_parent_with_a_systemprompt_directory(home: Home) -> None:
    deep = home.root / "core" / "src"
    deep.mkdir(parents=True)

    found = load(Flags(profile="prod"), ENVIRON, deep, NOW)

    assert isinstance(found, Loaded)
    assert found.project.root == home.root


def test_outside_a_project_the_refusal_names_the_place_and_the_flag(tmp_path: Path) -> None:
    found = load(Flags(), ENVIRON, tmp_path, NOW)

    assert not isinstance(found, Loaded)
    assert str(tmp_path) in str(found[0])
    assert "-C DIR" in str(found[0])


def test_everything_that_is_wrong_is_said_at_once(home: Home) -> None:
    home.put("credentials.json", {"api_token": jwt({"exp": NOW - 1}), "api_url": API})

    refusals = home.load(Flags(profile="nosuch"), {"HOME": ""})

    assert isinstance(refusals, tuple)
    assert [refusal.what for refusal in refusals] == [
        "the login has expired",
        "no profile 'nosuch'",
        "there is no directory for the journal",
    ]


# -- The tenant and the profile


def test_no_tenant_is_ever_picked_even_when_there_is_only_one(home: Home) -> None:
    refused = home.refused(Flags())

    assert "no tenant is named" in refused
    assert "(prod)" in refused


def test_the_tenant_flag_wins_over_the_profile(home: Home) -> None:
    home.put("tenants.json", {"tenants": [{"id": "acme"}, {"id": "other"}]})

    assert home.loaded(Flags(profile="prod", tenant="other")).project.tenant == "other"


def test_an_unknown_tenant_is_refused_with_the_file_and_the_known_ids(home: Home) -> None:
    refused = home.refused(Flags(tenant="nosuch"))

    assert "unknown tenant 'nosuch'" in refused
    assert "tenants.json" in refused
    assert "acme" in refused


def test_a_machine_without_a_tenant_list_may_name_any_tenant(home: Home) -> None:
    (home.root / ".systemprompt" / "tenants.json").unlink()

    assert home.loaded(Flags(tenant="somebody")).project.tenant == "somebody"


def test_a_tenant_id_that_could_change_the_url_is_refused(home: Home) -> None:
    assert "not a valid tenant id" in home.refused(Flags(tenant="../admin"))


def test_a_local_tenant_is_refused(home: Home) -> None:
    home.put("tenants.json", {"tenants": [{"id": "acme", "tenant_type": "local"}]})

    assert "tenant 'acme' is local" in home.refused()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("target: local\ncloud: {tenant_id: acme}", "key target"),
        ("cloud: {tenant_id: acme, enabled: false}", "key cloud.enabled"),
        ("cloud: {tenant_id: acme, cli_enabled: no}", "key cloud.cli_enabled"),
    ],
)
def test_a_profile_that_is_not_for_the_cloud_is_refused_even_with_a_tenant_flag(
    home: Home, text: str, key: str
) -> None:
    home.profile(text)

    assert key in home.refused(Flags(profile="prod", tenant="acme"))


def test_a_profile_is_found_by_path_from_the_start_directory(home: Home) -> None:
    path = home.root / "elsewhere" / "profile.yaml"
    path.parent.mkdir()
    path.write_text("cloud: {tenant_id: acme}")

    assert home.loaded(Flags(profile="elsewhere/profile.yaml")).project.profile == str(path)
    assert home.loaded(Flags(profile="./elsewhere")).project.profile == str(path)


def test_systemprompts_own_variable_names_the_profile_and_the_flag_wins(home: Home) -> None:
    home.profile("cloud: {tenant_id: acme}", name="stage")
    environ = {"SYSTEMPROMPT_PROFILE": "stage"}

    assert home.loaded(Flags(), environ).project.profile == "stage"
    assert home.loaded(Flags(profile="prod"), environ).project.profile == "prod"


def test_an_unknown_profile_is_refused_with_the_known_ones(home: Home) -> None:
    assert "pass one of: prod" in home.refused(Flags(profile="prud"))


@pytest.mark.parametrize("value", ["no", "0123", "null_or_not: 1", "[a]"])
def test_yaml_that_turns_a_name_into_something_else_is_refused_by_key(
    home: Home, value: str
) -> None:
    home.profile(f"cloud:\n  tenant_id:\n    {value}\n")

    refused = home.refused()

    assert "key cloud.tenant_id" in refused
    assert "in quotes" in refused


def test_a_switch_in_quotes_is_not_told_to_be_put_in_quotes(home: Home) -> None:
    home.profile('cloud: {tenant_id: acme, enabled: "yes"}')

    refused = home.refused()

    assert "key cloud.enabled" in refused
    assert "in quotes" not in refused
    assert "correct the profile" in refused


def test_yaml_keys_that_are_no_texts_are_none_of_ours(home: Home) -> None:
    home.profile("on: {push: 1}\n7: x\ncloud: {tenant_id: acme, no: 1}\n")

    assert home.loaded().project.tenant == "acme"


@pytest.mark.parametrize(
    "text", ["a: [", "a: 2026-99-99", "\t- x", "&a [*a]", "!!python/object:os.system {}", "- x"]
)
def test_broken_yaml_is_refused_with_its_file(home: Home, text: str) -> None:
    home.profile(text)

    assert "profile.yaml" in home.refused()


def test_broken_yaml_is_not_quoted(home: Home) -> None:
    home.profile('database: {url: "postgres://u:canary@h/d\ncloud: [')

    refused = home.refused()

    assert "line" in refused
    assert "canary" not in refused


# -- The files themselves


@pytest.mark.parametrize("name", ["credentials.json", "tenants.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"api_token": 5, "tenants": 5}', "\xff"])
def test_a_broken_json_file_is_refused_by_name(home: Home, name: str, text: str) -> None:
    home.put(name, "x").write_bytes(text.encode("latin-1"))

    assert name in home.refused()


def test_a_wrong_type_is_refused_with_file_and_key(home: Home) -> None:
    home.put("tenants.json", {"tenants": [{"id": "a"}, {"id": 7}]})

    assert "tenants.json, key tenants[1].id" in home.refused()


def test_an_unreadable_file_is_refused_with_what_to_do(home: Home) -> None:
    path = home.put("tenants.json", {"tenants": []})
    path.unlink()
    os.mkfifo(path)

    assert "not a regular file" in home.refused()


def test_a_huge_file_is_not_read(home: Home) -> None:
    with home.put("tenants.json", "").open("wb") as file:
        file.truncate(1 << 40)

    assert "larger than" in home.refused()


def test_a_nul_in_a_path_is_refused(home: Home) -> None:
    home.profile('cloud: {tenant_id: acme}\nsecrets: {secrets_path: "a\\0b"}\n')

    assert "null byte" in home.refused()


# -- The login


def test_a_token_in_the_environment_needs_no_file(home: Home) -> None:
    (home.root / ".systemprompt" / "credentials.json").unlink()
    token = jwt({"exp": NOW + 7200})

    settings = home.loaded(environ={"SYSTEMPROMPT_API_TOKEN": f" {token}\n"}).settings

    assert (settings.api_url, settings.api_token.reveal()) == (PRODUCTION_API, token)


def test_the_environments_url_and_token_win_over_a_broken_file(home: Home) -> None:
    home.put("credentials.json", "{")
    environ = {"SYSTEMPROMPT_API_TOKEN": jwt(), "SYSTEMPROMPT_API_URL": "http://127.0.0.1:9/"}

    assert home.loaded(environ=environ).settings.api_url == "http://127.0.0.1:9"


def test_a_stored_login_is_not_sent_to_another_url(home: Home) -> None:
    refused = home.refused(environ={"SYSTEMPROMPT_API_URL": "https://other.example"})

    assert "the login was issued by https://api.example" in refused
    assert "SYSTEMPROMPT_API_TOKEN" in refused


def test_a_password_in_the_url_is_refused_without_showing_it(home: Home) -> None:
    refused = home.refused(environ={"SYSTEMPROMPT_API_URL": "https://u:canary@api.example"})

    assert "a user or a password" in refused
    assert "canary" not in refused


def test_nobody_logged_in_is_refused_with_the_login_command(home: Home) -> None:
    (home.root / ".systemprompt" / "credentials.json").unlink()

    assert "systemprompt cloud auth login" in home.refused()


def test_an_expired_login_is_refused(home: Home) -> None:
    home.put("credentials.json", {"api_token": jwt({"exp": NOW}), "api_url": API})

    assert "the login has expired" in home.refused()


def test_a_login_about_to_expire_is_warned_of(home: Home) -> None:
    home.put("credentials.json", {"api_token": jwt({"exp": NOW + 540}), "api_url": API})

    assert home.loaded().project.warnings == ("the login expires in 9 min",)


def test_a_login_without_an_end_is_taken(home: Home) -> None:
    home.put("credentials.json", {"api_token": jwt({}), "api_url": API})

    assert home.loaded().project.token_expires_at is None


@pytest.mark.parametrize(
    "token",
    [
        "canary",
        "canary.b.c.d",
        "canary.%%%.c",
        "canary.AAAA.c",
        f"canary.{base64.urlsafe_b64encode(b'[1]').decode()}.c",
        jwt({"exp": "canary"}),
        jwt({"exp": True}),
        jwt().replace("c2ln", "canary\r\nX-Header: 1"),
    ],
)
def test_a_token_that_is_no_jwt_is_refused_without_showing_it(home: Home, token: str) -> None:
    home.put("credentials.json", {"api_token": token, "api_url": API})

    refused = home.refused()

    assert "not an API token" in refused
    assert "canary" not in refused


# -- The database


def test_the_database_is_looked_for_in_the_documents_order(home: Home) -> None:
    local = {"id": "local", "tenant_type": "local", "database_url": "postgres://tenant/d"}
    home.put("tenants.json", {"tenants": [{"id": "acme"}, local]})
    secrets = home.put("profiles/prod/secrets.json", {"database_url": "postgres://profile/d"})

    in_environment = home.loaded(environ={"DATABASE_URL": "postgres://environment/d"})
    in_profile = home.loaded()
    secrets.write_text('{"database_url": 7, "gemini": "x"}')
    in_tenant = home.loaded()

    assert [database(each) for each in (in_environment, in_profile, in_tenant)] == [
        ("postgres://environment/d", "the environment"),
        ("postgres://profile/d", "the secrets of profile prod"),
        ("postgres://tenant/d", "the local tenant 'local'"),
    ]


def database(found: Loaded) -> tuple[str | None, str | None]:
    url = found.settings.database_url
    return (url.reveal() if url else None, found.project.database_from)


@pytest.mark.parametrize(
    "url", ["", None, "null", "postgres://u:***@h/d", "postgres://u:*****@h/d"]
)
def test_a_masked_or_empty_database_is_none(home: Home, url: str | None) -> None:
    local = {"id": "local", "tenant_type": "local", "database_url": url}
    home.put("tenants.json", {"tenants": [{"id": "acme"}, local]})
    home.put("profiles/prod/secrets.json", {"database_url": url})

    assert database(home.loaded()) == (None, None)
    assert not home.loaded().settings.sqlx_offline


def test_the_cloud_tenants_database_is_not_compiled_against(home: Home) -> None:
    home.put("tenants.json", {"tenants": [{"id": "acme", "database_url": "postgres://cloud/d"}]})

    assert database(home.loaded()) == (None, None)


def test_the_offline_cache_counts_where_there_is_no_database(home: Home) -> None:
    (home.root / ".sqlx").mkdir()

    assert home.loaded().settings.sqlx_offline
    assert not home.loaded(environ={"DATABASE_URL": "postgres://h/d"}).settings.sqlx_offline
    assert home.loaded(
        environ={"DATABASE_URL": "postgres://h/d", "SQLX_OFFLINE": "true"}
    ).settings.sqlx_offline


def test_the_first_of_several_local_databases_is_taken_with_a_warning(home: Home) -> None:
    local = {"id": "one", "tenant_type": "local", "database_url": "postgres://1/d"}
    entries = [{"id": "acme"}, local, {**local, "id": "two", "database_url": "postgres://2/d"}]
    home.put("tenants.json", {"tenants": entries})

    assert home.loaded().project.warnings == ("2 local tenants have a database; 'one' is taken",)


# -- The Dockerfile


def test_the_dockerfile_flag_wins_over_both_files(home: Home) -> None:
    home.profile("cloud: {tenant_id: acme}\npaths: {dockerfile: by-profile}")
    assert home.loaded().project.dockerfile == Path("by-profile")

    home.config('[image]\ndockerfile = "by-config"')
    assert home.loaded().project.dockerfile == Path("by-config")

    flags = Flags(profile="prod", dockerfile=Path("x/../by-flag"))
    assert home.loaded(flags).project.dockerfile == Path("by-flag")


def test_a_profiles_own_dockerfile_is_taken_where_there_is_no_common_one(home: Home) -> None:
    home.put("profiles/prod/docker/Dockerfile", "FROM scratch")
    own = Path(".systemprompt/profiles/prod/docker/Dockerfile")
    assert home.loaded().project.dockerfile == own

    home.put("Dockerfile", "FROM scratch")
    assert home.loaded().project.dockerfile == Path(".systemprompt/Dockerfile")


@pytest.mark.parametrize("path", ["../Dockerfile", "/etc/Dockerfile", "a/../../Dockerfile"])
def test_a_dockerfile_outside_the_project_is_refused(home: Home, path: str) -> None:
    assert "outside the project" in home.refused(Flags(profile="prod", dockerfile=Path(path)))


@pytest.mark.parametrize("by", ["profile", "config"])
def test_a_dockerfile_whose_name_no_file_can_have_is_refused(home: Home, by: str) -> None:
    if by == "profile":
        home.profile('cloud: {tenant_id: acme}\npaths: {dockerfile: "a\\0b"}')
    else:
        home.config('[image]\ndockerfile = "a\\u0000b"')

    assert "contains a NUL character" in home.refused()


# -- deployer.toml


def test_the_config_file_gives_defaults_that_flags_override(home: Home) -> None:
    home.config(
        'version = 1\n[project]\nprofile = "prod"\n[deploy]\nwait_timeout = "1h30m"\n'
        'stability = "60s"\nsettle = "0"\n[registry]\nhosts = ["127.0.0.1:5000"]\n'
    )
    policy = WaitPolicy(timeout=5400, stability=60, settle=0)

    found = home.loaded(Flags())

    assert found.project.wait == policy
    assert found.settings.registry_hosts == {"127.0.0.1:5000"}
    flagged = home.loaded(Flags(wait=False, stability=0.0, registry_hosts=("r.example",)))
    assert flagged.project.wait == replace(policy, wait=False, stability=0)
    assert flagged.settings.registry_hosts == {"127.0.0.1:5000", "r.example"}


def test_a_config_file_that_names_two_tenants_is_refused_where_it_decides(home: Home) -> None:
    home.put("tenants.json", {"tenants": [{"id": "acme"}, {"id": "other"}]})
    home.config('[project]\nprofile = "prod"\ntenant = "other"')

    refused = home.refused(Flags())

    assert "profile 'prod' is of tenant 'acme', and tenant is 'other'" in refused
    assert "deployer.toml, keys project.profile and project.tenant" in refused
    assert home.loaded(Flags(tenant="other")).project.tenant == "other"
    assert home.loaded(Flags(profile="prod")).project.tenant == "acme"
    home.config('[project]\nprofile = "prod"\ntenant = "acme"')
    assert home.loaded(Flags()).project.tenant == "acme"


@pytest.mark.parametrize(
    "host", ["https://r.example", "r.example/x", "r.example:port", "", "r example", "R.example"]
)
def test_what_is_no_registry_is_refused_with_its_place(home: Home, host: str) -> None:
    def by_config(text: str) -> str:
        home.config(text)
        return home.refused(Flags(tenant="acme"))

    assert "deployer.toml, key registry.hosts" in by_config(f'[registry]\nhosts = ["{host}"]')
    assert "deployer.toml, key image.base_registry" in by_config(
        f'[image]\nbase_registry = "{host}"'
    )
    home.config("")
    assert "--registry-host" in home.refused(Flags(tenant="acme", registry_hosts=(host,)))


def test_the_registry_for_bases_is_named_by_the_variable_or_the_file(home: Home) -> None:
    environ = {"DEPLOYER_BASE_REGISTRY": "127.0.0.1:5000"}
    home.config('[image]\nbase_registry = "mirror.example"')

    assert home.loaded().settings.base_registry == "mirror.example"
    assert home.loaded(environ=environ).settings.base_registry == "127.0.0.1:5000"
    refused = home.refused(environ={"DEPLOYER_BASE_REGISTRY": "http://mirror"})
    assert "(DEPLOYER_BASE_REGISTRY)" in refused


def test_the_config_files_tenant_comes_after_the_profiles(home: Home) -> None:
    home.put("tenants.json", {"tenants": [{"id": "acme"}, {"id": "other"}]})
    home.config('[project]\ntenant = "other"')

    assert home.loaded(Flags()).project.tenant == "other"
    assert home.loaded(Flags(profile="prod")).project.tenant == "acme"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[deploy]\nwait_timout = 1", "unknown key wait_timout"),
        ("[deploy]\nwait_timout = 1", "did you mean wait_timeout?"),
        ("[deploy]\nwait_timout = 1", "deployer.toml, key deploy"),
        ("[imge]\n", "did you mean image?"),
        ("zzz = 1", "known here: version, project, image, deploy, registry"),
        ("version = 2", "key version"),
        ('[deploy]\nstability = "soon"', "'soon' is not a duration"),
        ('[deploy]\nstability = "soon"', "key deploy.stability"),
        ("[deploy]\nsettle = true", "key deploy.settle"),
        ("[project]\ntenant = 7", "key project.tenant"),
        ("[project\n", "line 1"),
        ("x = \xff", "deployer.toml"),
    ],
)
def test_a_wrong_config_file_is_refused_with_file_key_and_remedy(
    home: Home, text: str, says: str
) -> None:
    (home.root / "deployer.toml").write_bytes(text.encode("latin-1"))

    assert says in home.refused()


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5s", "5 m", "1.5h", "5d", "999999h", "9" * 400, "٣"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|week"):
        parse_duration(text)


# -- The journal's place


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"XDG_STATE_HOME": "/state"}, "/state/deployer"),
        ({"XDG_STATE_HOME": "relative"}, "/home/somebody/.local/state/deployer"),
    ],
)
def test_the_journal_follows_the_xdg_rules(home: Home, environ: dict[str, str], place: str) -> None:
    assert home.loaded(environ=environ).settings.state_dir == Path(place)
