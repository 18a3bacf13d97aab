//! A small HTTP server on HOST and PORT, which ends by itself on SIGTERM.

use std::env;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

static STOPPING: AtomicBool = AtomicBool::new(false);
const SIGTERM: i32 = 15;
const IDLE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(5);

extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
}

extern "C" fn stop(_number: i32) {
    STOPPING.store(true, Ordering::SeqCst);
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(&stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
    }
    let path = request.split_whitespace().nth(1).unwrap_or("/");
    let (status, kind, body) = systemprompt::answer(path);
    write!(
        &stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn main() -> std::io::Result<()> {
    unsafe { signal(SIGTERM, stop) };
    let host = env::var("HOST").unwrap_or_else(|_| "0.0.0.0".into());
    let port = env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("{host}:{port}"))?;
    listener.set_nonblocking(true)?;
    println!("systemprompt {} on {host}:{port}", systemprompt::VERSION);
    while !STOPPING.load(Ordering::SeqCst) {
        match listener.accept() {
            // A client that hangs up in the middle is its own affair.
            Ok((stream, _)) => drop(thread::spawn(move || serve(stream))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(IDLE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
