//! The host's resolvers, from its `/etc/resolv.conf` (resolv.conf(5)).

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// How many resolvers are asked, as by the C library.
const MAX_SERVERS: usize = 3;

/// The most that is read of the file.
const MAX_FILE: u64 = 64 * 1024;

/// The host's resolvers, read again when the file has changed.
#[derive(Debug)]
pub struct HostServers {
    file: PathBuf,
    port: u16,
    stamp: Option<Stamp>,
    servers: Vec<SocketAddr>,
}

/// What differs when a file has been changed or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl From<Metadata> for Stamp {
    fn from(metadata: Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl HostServers {
    /// The servers a file names, at this port.
    pub fn new(file: PathBuf, port: u16) -> Self {
        Self {
            file,
            port,
            stamp: None,
            servers: Vec::new(),
        }
    }

    /// The servers of the machine.
    pub fn of_machine() -> Self {
        Self::new(PathBuf::from("/etc/resolv.conf"), 53)
    }

    /// The servers as the file names them now, in its order.
    pub fn now(&mut self) -> &[SocketAddr] {
        let stamp = std::fs::metadata(&self.file).ok().map(Stamp::from);
        if self.servers.is_empty() || stamp != self.stamp {
            let text = self.read().unwrap_or_default();
            self.servers = servers(&text, self.port);
            self.stamp = stamp;
        }
        &self.servers
    }

    fn read(&self) -> io::Result<String> {
        let mut bytes = Vec::new();
        File::open(&self.file)?
            .take(MAX_FILE)
            .read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The servers of a resolv.conf; without any, the one on this machine.
fn servers(text: &str, port: u16) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|word| address(word, port))
        .take(MAX_SERVERS)
        .collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    servers
}

/// An address, a link-local one with its interface.
fn address(word: &str, port: u16) -> Option<SocketAddr> {
    let Some((address, interface)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, port));
    };
    let index = if let Ok(index) = interface.parse() {
        index
    } else {
        let file = format!("/sys/class/net/{interface}/ifindex");
        std::fs::read_to_string(file).ok()?.trim().parse().ok()?
    };
    let address = SocketAddrV6::new(address.parse().ok()?, port, 0, index);
    Some(address.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_three_servers_are_taken_in_their_order() {
        let text = "# nameserver 9.9.9.9\nsearch lan\n nameserver 192.0.2.1 \nnameserver\t::1\n\
                    nameserver nonsense\nnameserver fe80::1%7\nnameserver 192.0.2.4\n";
        let found = servers(text, 53);
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, 7);
        assert_eq!(
            found,
            [
                "192.0.2.1:53".parse().unwrap(),
                "[::1]:53".parse().unwrap(),
                SocketAddr::from(scoped)
            ]
        );
    }

    #[test]
    fn without_any_the_machine_itself_is_asked() {
        let local: SocketAddr = "127.0.0.1:53".parse().unwrap();
        assert_eq!(servers("", 53), [local]);
        assert_eq!(servers("nameserver fe80::1%absent0\n", 53), [local]);
        let mut missing = HostServers::new(PathBuf::from("/nonexistent/resolv.conf"), 53);
        assert_eq!(missing.now(), [local]);
    }

    #[test]
    fn an_interface_is_known_by_its_name() {
        let found = servers("nameserver fe80::1%lo\n", 53);
        assert!(matches!(found[..], [SocketAddr::V6(one)] if one.scope_id() == 1));
    }

    #[test]
    fn a_changed_or_replaced_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        let put = |text: &str| {
            let new = dir.path().join("new");
            let mut written = File::create_new(&new).unwrap();
            io::Write::write_all(&mut written, text.as_bytes()).unwrap();
            std::fs::rename(new, &file).unwrap();
        };
        put("nameserver 192.0.2.1\n");
        let mut servers = HostServers::new(file.clone(), 53);
        assert_eq!(servers.now(), ["192.0.2.1:53".parse().unwrap()]);
        put("nameserver 192.0.2.2\n");
        assert_eq!(servers.now(), ["192.0.2.2:53".parse().unwrap()]);
    }
}
