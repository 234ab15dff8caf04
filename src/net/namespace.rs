//! Inside a new network namespace: `lo`, and `eth0` with the pod's address.
//!
//! `eth0` is a bridge without ports: the one link type that needs no peer, is in every
//! distribution's kernel (`dummy` is not) and delivers to its own address without a carrier.

use std::io;
use std::net::IpAddr;

use crate::net::node::{write_if_there, write_setting};
use crate::net::route::{self, LOOPBACK_INDEX, Requests, Route};
use crate::plan::{Network, PodPlan};

/// Sets up this process' network namespace for the plan's pod.
///
/// # Errors
/// The kernel's answer to the request that failed.
pub fn configure(plan: &PodPlan) -> io::Result<()> {
    let Network::Pod {
        address,
        prefix_len,
        ..
    } = plan.network
    else {
        return Ok(());
    };
    let mut route = Route::open()?;
    route.make(
        Requests::new()
            .up(LOOPBACK_INDEX)
            .bridge("eth0", route::mac_of(address)),
    )?;
    let index = route::index_of("eth0")?;
    route.make(Requests::new().address(index, IpAddr::V4(address), prefix_len))?;
    set_defaults()
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
