//! Stands for an MCP server: says its name.

fn main() {
    println!("systemprompt-infrastructure {}", env!("CARGO_PKG_VERSION"));
}
