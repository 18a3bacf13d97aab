//! Stands for an MCP server: says its name.

fn main() {
    println!("system-tools {}", env!("CARGO_PKG_VERSION"));
}
