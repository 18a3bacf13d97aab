"""What each failure means, in a paragraph: for `explain` and the documentation."""

from collections.abc import Mapping
from typing import Final

from deployer.failures import Kind

EXPLANATIONS: Final[Mapping[Kind, str]] = {
    Kind.COMPILE_ERROR: (
        "rustc refused the code; its errors stand above the failure. Nothing after the "
        "compile has happened, and the crates that did compile stay in target/."
    ),
    Kind.DATABASE_URL_MISSING: (
        "The query macros of sqlx check each query against a database while they compile, and "
        "no DATABASE_URL was found: not in the environment, not in the profile's secrets, not "
        "at a local tenant, and there is no .sqlx/ to compile without one."
    ),
    Kind.DATABASE_UNREACHABLE: (
        "A DATABASE_URL is set, but the query macros of sqlx could not connect to that "
        "database. With .sqlx/ prepared, SQLX_OFFLINE=true compiles without it."
    ),
    Kind.MANIFEST_BROKEN: (
        "cargo did not begin: a Cargo.toml is missing or cannot be read. Mostly the command "
        "runs outside the project, or core/ has not been checked out."
    ),
    Kind.NO_SUCH_PACKAGE: (
        "A manifest below extensions/ names a package or a binary that the workspace does not have."
    ),
    Kind.CARGO_MISSING: (
        "There is no cargo on PATH. In CI, rustup's own PATH entry ($HOME/.cargo/bin) is "
        "often missing."
    ),
    Kind.TOOLCHAIN_MISSING: (
        "rustup is there, but not the toolchain that the project's rust-toolchain file asks for."
    ),
    Kind.DEPENDENCIES: (
        "cargo could not fetch a crate, after trying several times itself. With "
        "CARGO_NET_OFFLINE set it does not even try."
    ),
    Kind.LOCK_FILE_STALE: (
        "The build runs with --locked so that what is deployed is what was committed, and "
        "Cargo.lock does not match the manifests."
    ),
    Kind.LINKER: (
        "Everything compiled, but the linker is not installed or did not find a symbol or a "
        "library."
    ),
    Kind.BUILD_DISK_FULL: (
        "The disk of target/ was full. It may have room again by now: cargo removes its "
        "partial files. A release build of a project of this kind takes several GB."
    ),
    Kind.RUSTC_KILLED: (
        "The compiler or the linker was killed, as a rule because memory ran out: by the kernel, or "
        "with TERM by a helper that watches memory. CARGO_BUILD_JOBS=1 needs the least."
    ),
    Kind.SECRET_IN_BINARY: (
        "A compiled program holds a password that this deploy knows, mostly the database's: "
        'env!("DATABASE_URL") and a build script\'s cargo:rustc-env put it there. Whoever can pull '
        "the image could read it, so nothing was built or pushed."
    ),
    Kind.BINARY_UNUSABLE: (
        "cargo said that all is built, yet a binary is missing, empty, not executable, or not "
        "what Building left. cargo calls a truncated binary fresh, so it has to be told to "
        "forget it."
    ),
    Kind.CARGO_KILLED: (
        "Something outside deployer ended cargo with a signal: the out-of-memory killer, a "
        "shutdown, another user."
    ),
    Kind.CARGO_LOCKED: (
        "Another cargo holds the lock of target/ and went on holding it: an editor's check, "
        "or a build that outlived its shell."
    ),
    Kind.BUILD_STALLED: (
        "cargo said nothing and used no processor time for a long while. A build script may "
        "wait for input or for the network."
    ),
    Kind.BUILD_FAILED: (
        "cargo failed in a way that deployer does not know; its own last lines stand above "
        "the failure."
    ),
    Kind.ENGINE_DOWN: (
        "Nothing listens on the engine's socket: Docker is not running, or DOCKER_HOST names "
        "another place."
    ),
    Kind.ENGINE_FORBIDDEN: (
        "The engine's socket exists, but this user may not open it. After the user has been "
        "added to the group a new login is needed."
    ),
    Kind.ENGINE_SILENT: "The engine took the connection and did not answer a ping.",
    Kind.ENGINE_CONTEXT: (
        "The engine's address cannot be used: the current docker context or DOCKER_HOST is "
        "broken, or points to a plain tcp:// address."
    ),
    Kind.BINARY_MISSING: (
        "The Dockerfile copies a binary from target/release/ that is not there. A resume "
        "compiles again."
    ),
    Kind.WEB_DIST_MISSING: (
        "The Dockerfile copies core/web/dist, and that directory is missing, empty or without "
        "index.html. No image builder notices the last two."
    ),
    Kind.SOURCE_MISSING: "The Dockerfile copies a path that does not exist in the project.",
    Kind.SOURCE_IGNORED: (
        "The path exists, but an ignore file keeps it from the engine. The ignore file beside "
        "the Dockerfile wins over the one in the root."
    ),
    Kind.DOCKERFILE_MISSING: (
        "There is no Dockerfile where one was expected. Looked at, in this order: "
        "--dockerfile, deployer.toml, the profile, .systemprompt/Dockerfile."
    ),
    Kind.DOCKERFILE_SYNTAX: "The Dockerfile cannot be parsed; the message names the line.",
    Kind.BASE_UNREACHABLE: (
        "The base image could not be fetched: its registry was not reached. A base image that "
        "the engine has already needs no network."
    ),
    Kind.BASE_NOT_FOUND: "The registry of the base image does not have it, or wants a login for it.",
    Kind.RUN_STEP_FAILED: (
        "A RUN step of the Dockerfile ended with an error; its output stands above the failure."
    ),
    Kind.RUN_STEP_KILLED: "A RUN step was killed from outside: the engine was stopping, or its memory ran out.",
    Kind.ENGINE_DIED: (
        "The engine went away in the middle of the build. An answer that merely ends is never "
        "taken for success."
    ),
    Kind.ENGINE_DISK_FULL: "The engine's data directory is full. It is often on another disk than the project.",
    Kind.CONTEXT_UNREADABLE: (
        "A file that the Dockerfile copies cannot be read by this user, or is no regular file."
    ),
    Kind.CONTEXT_CHANGED: (
        "A file changed while it was being sent to the engine, so the image would have held "
        "neither the old nor the new one."
    ),
    Kind.BAD_REFERENCE: (
        "The tag or the image name does not fit the grammar of registries: letters, digits, "
        "dot, underscore and hyphen, at most 128 characters."
    ),
    Kind.WRONG_PLATFORM: "The built image is not for linux/amd64, and the machines of Fly.io run nothing else.",
    Kind.ENGINE_GARBAGE: (
        "The engine's answer could not be understood. A proxy in between, or a version nobody "
        "has met yet."
    ),
    Kind.SOURCE_FORBIDDEN: (
        "The Dockerfile copies a file that holds credentials: it would be in every copy of "
        "the image for good. Give secrets to the running machine instead."
    ),
    Kind.SOURCE_OUTSIDE: (
        "A path that the Dockerfile copies leaves the project, by .. or by a link. The engine "
        "would not see it."
    ),
    Kind.SECRET_IN_IMAGE: (
        "The image's configuration or history, or a file that goes into it, holds a password that "
        "this deploy knows: an ARG or ENV of the Dockerfile, or a copied file. Nothing was pushed."
    ),
    Kind.NEEDS_ENGINE: (
        "The direct builder makes images out of FROM, COPY and settings, without an engine. The "
        "Dockerfile or its base image asks for more than that; `--builder engine` can do it."
    ),
    Kind.IMAGE_FAILED: (
        "The engine could not build the image, for a reason that deployer does not know; its "
        "own words are shown."
    ),
    Kind.API_LOGIN_REFUSED: (
        "The Management API does not take the API token: it has expired, was revoked, or "
        "belongs to the other environment (production or sandbox)."
    ),
    Kind.TENANT_FORBIDDEN: "The token is good, but its user may not deploy this tenant.",
    Kind.TENANT_UNKNOWN: (
        "The Management API does not know a tenant with this id. tenants.json may be older "
        "than the tenant's removal."
    ),
    Kind.API_RATE_LIMIT: (
        "The Management API wants fewer requests. Its Retry-After was honoured for as long as "
        "deployer waits by itself."
    ),
    Kind.API_UNAVAILABLE: (
        "The Management API answered with a server error or not in time, again and again. "
        "Nothing has been changed by asking."
    ),
    Kind.API_UNREACHABLE: (
        "No connection to the Management API: the name does not resolve, or nothing listens there."
    ),
    Kind.API_TLS: (
        "The certificate of the Management API cannot be trusted. There is no way to switch "
        "the check off; a company's own authority is named with --ca-file."
    ),
    Kind.NOT_THE_API: (
        "What answered is not the Management API: a redirect, a web page, or no JSON. A "
        "captive portal and a proxy do this."
    ),
    Kind.LOGIN_UNUSABLE: (
        "The Management API sent a registry login that must not be used: no password, a name "
        "that its grammar refuses, or a registry that is not known. See --registry-host."
    ),
    Kind.API_URL_INVALID: (
        "The API URL cannot be used: it is not https, or it contains a user, a password, a "
        "query or a fragment."
    ),
    Kind.TENANT_NOT_READY: "The tenant exists but has no application yet, so there is nowhere to push to.",
    Kind.API_REFUSED: (
        "The Management API refused for a reason that deployer does not know; its own words "
        "are shown."
    ),
    Kind.REGISTRY_AUTH: (
        "The registry does not take the login that the Management API handed out, not even a "
        "fresh one. The registry itself was asked, so this is not the engine's mistake."
    ),
    Kind.REPOSITORY_DENIED: (
        "The registry knows the login, but does not let it push to this repository; or the "
        "repository does not exist."
    ),
    Kind.LOGIN_EXPIRED: (
        "The registry's login ended during the push. The layers that arrived stay there: with "
        "a new login only the rest is sent."
    ),
    Kind.REGISTRY_UNREACHABLE: (
        "The engine could not connect to the registry. The engine's own network and proxy "
        "settings count here, not the shell's."
    ),
    Kind.REGISTRY_UNAVAILABLE: (
        "The registry answered with a server error. The engine tries each layer again by "
        "itself, and deployer repeats the push."
    ),
    Kind.REGISTRY_RATE_LIMIT: "The registry wants fewer requests from this address or account.",
    Kind.PUSH_CUT: (
        "The connection to the registry broke during the upload. Finished layers are kept and "
        "are not sent again."
    ),
    Kind.PUSH_STALLED: (
        "The engine was connected to the registry, and nothing moved. Something on the way "
        "takes uploads and does not pass them on."
    ),
    Kind.DIGEST_MISMATCH: (
        "The registry received other bytes than the engine sent. A proxy that rewrites data "
        "can do this, and so can broken memory."
    ),
    Kind.REGISTRY_DISK_FULL: "The registry could not store the image: its own disk is full.",
    Kind.IMAGE_NOT_LOCAL: (
        "The engine no longer has the image that Imaging left, so it was pruned. A resume "
        "builds it again."
    ),
    Kind.REGISTRY_TLS: "The engine does not trust the registry's certificate, or one side speaks plain HTTP.",
    Kind.PUSH_ENGINE_DIED: (
        "The engine went away in the middle of the push. A push counts as done only with the "
        "digest that the engine reports."
    ),
    Kind.NOT_A_REGISTRY: (
        "What answered in place of the registry is none. An answer of 413 is a proxy with a "
        "limit on uploads."
    ),
    Kind.TAG_OVERWRITTEN: (
        "The registry has another image under the tag than the one that was just pushed: "
        "somebody pushed to the same tag. What was pushed is not deployed, because it would "
        "not be what runs."
    ),
    Kind.REALM_FOREIGN: (
        "The registry asks to send the login to a host of another site. That is not done; "
        "nothing was sent."
    ),
    Kind.INDEX_REFUSED: (
        "The registry says that there is no such repository, but the image is an index: a list of "
        "manifests, as engines make it that attach attestations. Fly's registry answers so to an "
        "index. BUILDX_NO_DEFAULT_ATTESTATIONS=1 turns them off."
    ),
    Kind.PUSH_FAILED: (
        "The engine could not push, for a reason that deployer does not know; its own words "
        "are shown."
    ),
    Kind.NOT_SENT: (
        "The request to deploy did not leave this machine, so nothing has happened over there."
    ),
    Kind.DEPLOY_LOGIN_REFUSED: (
        "The Management API no longer takes the API token. The image is in the registry: "
        "after a new login, a resume only asks for the deploy."
    ),
    Kind.DEPLOY_FORBIDDEN: "The token is good, but its user may not deploy this tenant.",
    Kind.DEPLOY_NO_TENANT: "The tenant was there when the registry login was fetched, and is not any more.",
    Kind.IMAGE_NOT_FOUND: (
        "The Management API does not find the image in the registry. A resume pushes it "
        "again; after --skip-push, choose a tag that `deployer history` shows."
    ),
    Kind.DEPLOY_RUNNING: (
        "The Management API is carrying out another deploy of this tenant. deployer waited "
        "for it in vain."
    ),
    Kind.DEPLOY_INVALID: "The Management API refused the request as it is. Repeating it would not change that.",
    Kind.DEPLOY_RATE_LIMIT: "The Management API wants fewer requests; nothing was deployed.",
    Kind.UPDATE_FAILED: (
        "The Management API tried to run the image on the tenant's machine, and that failed. "
        "The machine's own log at Fly.io tells why."
    ),
    Kind.SERVER_ERROR: (
        "The request to deploy was answered with a server's error, or with a proxy's in between. "
        "Neither says whether the deploy was carried out, so it is not repeated. A resume looks "
        "at the tenant's status first."
    ),
    Kind.OUTCOME_UNKNOWN: (
        "The request to deploy was sent and no answer came back, or not all of it in time. It may "
        "have been carried out; so it is not repeated. A resume looks at the tenant's status first "
        "and repeats the request, with the same key, only when it left no trace. Where the server "
        "tells nothing, look yourself, and say it with `deployer settle RUN --as …`."
    ),
    Kind.ANSWER_UNREADABLE: (
        "The request to deploy was answered with success, but the answer cannot be read: cut, "
        "empty, too large, or no status in it. As a rule the work was done. A resume looks at the "
        "tenant's status first."
    ),
    Kind.POST_OPEN: (
        "A process ended after it had sent the request to deploy and before it had read an answer. "
        "Nothing new is started beside it: a resume finds out what the request did."
    ),
    Kind.KEY_IN_PROGRESS: (
        "The Management API is still at work on this run's own earlier request: it had been sent "
        "before, and its answer was lost. deployer asked again until its patience was over."
    ),
    Kind.DEPLOY_REDIRECTED: (
        "The Management API answered with a redirect. It is not followed: it could turn the "
        "request into another one, or send it somewhere else."
    ),
    Kind.UNHEALTHY: (
        "The deploy was accepted, but the application did not become healthy in time. It "
        "runs, or tries to; `deployer rollback` brings the earlier image back."
    ),
    Kind.SUPERSEDED: (
        "After this deploy somebody else's began, and theirs is what runs. Nothing of theirs "
        "was touched."
    ),
    Kind.TAG_NOT_ACCEPTED: "This server names the image's tag itself and accepts no other.",
    Kind.NO_ROLLBACK: (
        "This server keeps one tag a tenant, and the earlier image could not be put back under it."
    ),
    Kind.CONFIGURATION: (
        "A flag, a variable or a file cannot be used as it is. The message says what is "
        "wrong, where, and what to do; nothing was started."
    ),
    Kind.RUN_BUSY: (
        "Another process on this machine deploys the same tenant. It holds a lock that ends "
        "with it: a process that died is never in the way."
    ),
    Kind.STATE_DISK_FULL: (
        "The journal could not be written. Nothing goes on without a record, because what is "
        "not recorded could happen twice."
    ),
    Kind.STATE_CORRUPT: (
        "The journal cannot be read. It is never replaced in silence: an open deploy may "
        "stand in it."
    ),
    Kind.STATE_IO: "The disk refused to read or write the journal.",
    Kind.STATE_NEWER: "A newer deployer wrote this journal, and this one would misread it.",
    Kind.STATE_FORBIDDEN: "The journal belongs to another user, or may not be written. sudo does this.",
    Kind.NO_SUCH_RUN: (
        "The journal has no such run for this tenant, or none that could be meant. Each API "
        "URL has its own runs."
    ),
    Kind.LOOPING: "The run was resumed again and again without getting any further.",
    Kind.BUG: (
        "deployer itself is wrong here. The journal is written before each step, so the run "
        "can be resumed all the same."
    ),
}
