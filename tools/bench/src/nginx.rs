//! nginx as a proxy, where it is installed: what our gateway is compared with.

use crate::floors::FREE_PORT;
use anyhow::ensure;
use chaos::servers::signal;
use std::fs::read_to_string;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Bound for nginx to listen.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// The ids of a request: those of the client, or new ones. nginx makes one random id; the span is a part of it.
const MAPS: &str = r#"
map $http_x_request_id $id { "" $request_id; default $http_x_request_id; }
map $request_id $span { "~^(?<half>.{16})" $half; }
map $http_traceparent $trace { "" "00-$request_id-$span-01"; default $http_traceparent; }
"#;
/// The headers that our gateway sets, and those of clients that it removes.
const GATEWAY_HEADERS: &str = r#"
proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header X-Forwarded-Host $http_host;
proxy_set_header X-Forwarded-Port "";
proxy_set_header X-Forwarded-Prefix "";
proxy_set_header Forwarded "";
proxy_set_header X-Real-IP "";
proxy_set_header X-Budget-Ms 1000;
proxy_set_header X-Request-Id $id;
proxy_set_header Traceparent $trace;
add_header X-Request-Id $id always;
"#;

/// Which headers nginx sets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Headers {
    /// None of its own.
    Plain,
    /// Those of our gateway.
    Gateway,
}

/// nginx as a proxy in front of a server.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) addr: SocketAddr,
    _dir: TempDir,
}

impl Nginx {
    /// Starts nginx with a worker for each core and connections that are kept; `None` if nginx is not installed. It logs no
    /// requests, as our gateway under the bench.
    pub(crate) fn before(upstream: SocketAddr, headers: Headers) -> anyhow::Result<Option<Self>> {
        let dir = tempfile::tempdir()?;
        let free = std::net::TcpListener::bind(FREE_PORT)?;
        let addr = free.local_addr()?;
        drop(free);
        let at = dir.path().display();
        let (maps, set) = match headers {
            Headers::Plain => ("", ""),
            Headers::Gateway => (MAPS, GATEWAY_HEADERS),
        };
        let config = format!(
            "daemon off; worker_processes auto; pid {at}/pid; error_log {at}/error.log crit;\n\
             events {{ worker_connections 2048; }}\n\
             http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             keepalive_requests 1000000000;\n{maps}\
             upstream shop {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}\n\
             server {{ listen {addr}; location / {{ proxy_pass http://shop; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\";\n{set}}} }} }}\n"
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config)?;
        // Debian has it in /usr/sbin, which is not on every PATH.
        let started = ["nginx", "/usr/sbin/nginx"].into_iter().find_map(|program| {
            let mut nginx = Command::new(program);
            nginx.arg("-p").arg(dir.path()).arg("-c").arg(&file).stdin(Stdio::null()).spawn().ok()
        });
        let Some(child) = started else { return Ok(None) };
        let nginx = Self { child, addr, _dir: dir };
        let began = Instant::now();
        while std::net::TcpStream::connect(addr).is_err() {
            ensure!(began.elapsed() < START_TIMEOUT, "nginx does not listen at {addr}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(nginx))
    }
}

impl Nginx {
    /// Returns the CPU time of all its processes so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let master = self.child.id();
        let workers = read_to_string(format!("/proc/{master}/task/{master}/children"));
        let workers = workers.unwrap_or_default();
        let workers = workers.split_whitespace().filter_map(|pid| pid.parse().ok());
        workers.chain([master]).map(|pid| chaos::cpu_time(pid).as_secs_f64()).sum()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, because a master that gets SIGKILL leaves its workers running.
        let _ = signal("-TERM", &self.child.id().to_string());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// Returns the head of the request that an upstream of nginx gets, or `None` if nginx is not installed.
    fn passed_on(headers: Headers, request: &str) -> Option<String> {
        let upstream = TcpListener::bind(FREE_PORT).unwrap();
        let nginx = Nginx::before(upstream.local_addr().unwrap(), headers).unwrap()?;
        let mut client = TcpStream::connect(nginx.addr).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let (mut stream, _) = upstream.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        Some(String::from_utf8(head).unwrap().to_lowercase())
    }

    #[test]
    fn nginx_sets_the_headers_of_our_gateway() {
        let request = "GET / HTTP/1.1\r\nhost: shop\r\nx-real-ip: 1.1.1.1\r\n\r\n";
        let Some(head) = passed_on(Headers::Gateway, request) else {
            eprintln!("nginx is not installed");
            return;
        };
        for line in [
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: shop",
            "x-budget-ms: 1000",
        ] {
            assert!(head.lines().any(|other| other == line), "no {line}: {head}");
        }
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        assert_eq!(value("x-request-id: ").map(str::len), Some(32), "{head}");
        assert_eq!(value("traceparent: ").map(str::len), Some(55), "{head}");
        assert!(!head.contains("x-real-ip"), "{head}");
    }
}
