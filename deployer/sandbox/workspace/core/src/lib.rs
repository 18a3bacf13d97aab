//! What the server answers, apart from sockets.

mod version;

pub use version::VERSION;

/// The status line, the content type and the body for a path.
pub fn answer(path: &str) -> (&'static str, &'static str, String) {
    match path {
        "/" => ("200 OK", "text/plain", format!("systemprompt {VERSION}\n")),
        "/health" | "/api/v1/health" => (
            "200 OK",
            "application/json",
            format!(r#"{{"status":"healthy","version":"{VERSION}"}}"#),
        ),
        _ => ("404 Not Found", "text/plain", "not found\n".to_string()),
    }
}
