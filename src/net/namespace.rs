//! Inside a new network namespace: `lo`, and `eth0` with the pod's addresses.
//!
//! Where there is no pod network `eth0` is a bridge without ports: the one link type that needs no
//! peer, is in every distribution's kernel (`dummy` is not) and delivers to its own address without
//! a carrier.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use crate::net::address;
use crate::net::node::{self, write_if_there, write_setting};
use crate::net::route::{self, LOOPBACK_INDEX, Requests, Route};
use crate::plan::{Addresses, Network, PodPlan};
use crate::stage::pause::Wire;

/// Sets up this process' network namespace for the plan's pod.
///
/// # Errors
/// The kernel's answer to the request that failed.
pub fn configure(plan: &PodPlan, wire: Wire) -> io::Result<()> {
    let Network::Pod {
        address: v4,
        prefix_len,
        address_v6: v6,
    } = plan.network
    else {
        return Ok(());
    };
    let gateway = address::gateway(v6.is_some());
    match wire {
        Wire::None => alone(v4, prefix_len)?,
        Wire::Made => node::configure_pod(Addresses { v4, v6 }, gateway)?,
        Wire::Make { route, bridge } => {
            let own = File::open("/proc/self/ns/net")?;
            let uid = plan.uid.as_str();
            node::connect_pod(&mut Route::of(route), bridge, uid, own.as_fd(), v4)?;
            node::configure_pod(Addresses { v4, v6 }, gateway)?;
        }
    }
    set_defaults()
}

fn alone(address: Ipv4Addr, prefix_len: u8) -> io::Result<()> {
    let mut route = Route::open()?;
    route.make(
        Requests::new()
            .up(LOOPBACK_INDEX)
            .bridge("eth0", route::mac_of(address)),
    )?;
    let index = route::index_of("eth0")?;
    route.make(Requests::new().address(index, IpAddr::V4(address), prefix_len))
}

/// Ping without `NET_RAW` and port 80 without root, as on a cluster; no router advertisement is
/// believed. The files are those of this process' namespace.
fn set_defaults() -> io::Result<()> {
    // In a user namespace the range may only name mapped groups; a kernel without ping sockets, or
    // a map without such a range, costs exactly ping.
    for range in ["0 2147483647", "0 65535", "0 0"] {
        if write_setting("net/ipv4/ping_group_range", range).is_ok() {
            break;
        }
    }
    write_setting("net/ipv4/ip_unprivileged_port_start", "0")?;
    write_if_there("net/ipv6/conf/all/accept_ra", "0")
}
