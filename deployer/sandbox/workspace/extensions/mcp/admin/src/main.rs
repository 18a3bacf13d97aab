//! Stands for an MCP server: says its name.

fn main() {
    println!("systemprompt-admin {}", env!("CARGO_PKG_VERSION"));
}
