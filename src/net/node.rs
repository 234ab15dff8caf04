//! The node's network namespace: a bridge that is every pod's gateway, and the pods' wires to it.
//!
//! ```text
//!  pod's namespace            node's namespace                       host's namespace
//!  eth0 10.88.0.5/32 ──veth── p0a1b2c3… ─┐
//!       default via .0.1                 podrun0 10.88.0.1/16 ┄┄ sockets of the node agent ┄┄ eth0, wlan0 …
//!  eth0 10.88.0.6/32 ──veth── p4d5e6f7… ─┘
//! ```
//!
//! A pod's address has no neighbours: all a pod sends goes to the gateway, also what is for
//! another pod. So the answers of a Service's endpoint pass where its address was translated: the
//! client sees the Service answer, and the endpoint sees the client's own address.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::net::route::{self, LOOPBACK_INDEX, Pair, Requests, Route};
use crate::plan::Addresses;

/// The bridge's name.
pub const BRIDGE: &str = "podrun0";

/// A pod's interface.
const POD_INTERFACE: &str = "eth0";

/// The mark of datagrams that the node agent takes, whatever their address.
pub const MARK: u32 = 1;

/// The mark of the node agent's answers to pings.
pub const ANSWER_MARK: u32 = 2;

/// Marks of connections that the outside does not take: it refused, there is no such host, or no way
/// there.
pub const REFUSED_MARK: u32 = 3;
/// See [`REFUSED_MARK`].
pub const UNREACHED_MARK: u32 = 4;
/// See [`REFUSED_MARK`].
pub const UNROUTED_MARK: u32 = 5;

/// The routing table that delivers marked datagrams: any number but those of `rtnetlink(7)`.
const MARKED_TABLE: u8 = 100;

/// The pod network: the gateway's addresses in it and how many bits name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodNetwork {
    /// What the bridge has.
    pub gateway: Addresses,
    /// Prefix length in IPv4.
    pub v4_len: u8,
    /// Prefix length in IPv6.
    pub v6_len: u8,
}

/// Runs something in a network namespace, on a thread of its own: a process that has left the
/// host's namespace may not be allowed back. Sockets stay in the namespace they were opened in.
///
/// # Errors
/// As `setns(2)` and `clone(2)`, and what `work` returns.
pub fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
            work()
        })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}

/// Sets up this thread's network namespace as the node's, unless it is so already, and returns the
/// bridge's number.
///
/// # Errors
/// The kernel's answer to the request that failed; as `write(2)` for a setting.
pub fn set_up(network: &PodNetwork) -> io::Result<u32> {
    match route::index_of(BRIDGE) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
        found => return found,
    }
    let mut route = Route::open()?;
    let mac = route::mac_of(network.gateway.v4);
    let ipv6 = network.gateway.v6.is_some();
    route.make(
        Requests::new()
            .up(LOOPBACK_INDEX)
            .bridge(BRIDGE, mac)
            .deliver_marked(MARK, MARKED_TABLE, ipv6),
    )?;
    let bridge = route::index_of(BRIDGE)?;
    let mut requests = Requests::new();
    for address in network.gateway.list() {
        let prefix_len = match address {
            IpAddr::V4(_) => network.v4_len,
            IpAddr::V6(_) => network.v6_len,
        };
        requests = requests.address(bridge, address, prefix_len);
    }
    if let Err(error) = route.make(requests).and_then(|()| forward(ipv6)) {
        // Half a bridge would be taken for a whole one.
        route.make(Requests::new().delete(bridge)).ok();
        return Err(error);
    }
    Ok(bridge)
}

/// Settings of the node's namespace: it forwards between pods, tells none to go directly to
/// another, and leaves what crosses the bridge alone.
fn forward(ipv6: bool) -> io::Result<()> {
    write_setting("net/ipv4/ip_forward", "1")?;
    for (setting, value) in [
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/podrun0/send_redirects", "0"),
        // The host's choice of a filter by the way back would apply here too; what is marked has
        // another way back.
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/podrun0/rp_filter", "0"),
        // Where the host has loaded br_netfilter.
        ("net/bridge/bridge-nf-call-iptables", "0"),
        ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ] {
        write_if_there(setting, value)?;
    }
    if ipv6 {
        write_setting("net/ipv6/conf/all/forwarding", "1")?;
        // Ports of the bridge need no addresses; the bridge keeps the setting it was made with.
        write_setting("net/ipv6/conf/default/disable_ipv6", "1")?;
    }
    Ok(())
}

/// Whether this kernel was started with IPv6.
pub fn has_ipv6() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6/conf/all").exists()
}

/// Writes a file of `/proc/sys`, of this thread's network namespace.
///
/// # Errors
/// As `open(2)` and `write(2)`.
pub fn write_setting(path: &str, value: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/sys/{path}"))?
        .write_all(value.as_bytes())
}

/// Writes a setting that not every kernel has.
///
/// # Errors
/// As [`write_setting`], but for a file that is not there.
pub fn write_if_there(path: &str, value: &str) -> io::Result<()> {
    match write_setting(path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Makes a pod's wire: a port of the bridge and, in the pod's namespace, `eth0`. The socket is one
/// of the node's namespace.
///
/// # Errors
/// The kernel's answer: EEXIST when the pod has its wire already.
pub fn connect_pod(
    route: &mut Route,
    bridge: u32,
    uid: &str,
    namespace: BorrowedFd<'_>,
    address: Ipv4Addr,
) -> io::Result<()> {
    let host_end = route::host_end(uid);
    let pair = Pair {
        host_end: &host_end,
        bridge,
        namespace,
        name: POD_INTERFACE,
        mac: route::mac_of(address),
    };
    route.make(Requests::new().pair(pair).isolate(&host_end))
}

/// Sets up `lo` and `eth0` of this thread's network namespace, with the pod's addresses and the way
/// to the gateway.
///
/// # Errors
/// The kernel's answer to the first request that failed.
pub fn configure_pod(pod: Addresses, gateway: Addresses) -> io::Result<()> {
    let eth0 = route::index_of(POD_INTERFACE)?;
    // The setting for all interfaces changes none that is there already. Before it is up: nobody's
    // advertisement may come first.
    write_if_there("net/ipv6/conf/eth0/accept_ra", "0")?;
    let mut requests = Requests::new().up(LOOPBACK_INDEX).up(eth0);
    for (address, gateway) in pod.list().into_iter().zip(gateway.list()) {
        let prefix_len = if address.is_ipv4() { 32 } else { 128 };
        requests = requests
            .address(eth0, address, prefix_len)
            .on_link(eth0, gateway)
            .default_route(eth0, gateway);
    }
    Route::open()?.make(requests)
}
