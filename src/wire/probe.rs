//! Between the supervisor and its prober: requests for probes and hooks that go over the network,
//! and what came of them.

use serde::{Deserialize, Serialize};

use crate::lifecycle::ProbeVerdict;
use crate::plan::Handler;

/// The most bytes of a probe's output or failure text that are kept (`maxRespBodyLength` of
/// pkg/probe/http, `maxReadLength` of pkg/probe/exec: 10 KiB).
pub const MAX_PROBE_OUTPUT: usize = 10 * 1024;

/// To the prober: do this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// Comes back in the answer.
    pub id: u64,
    /// `HttpGet`, `TcpSocket` or `Grpc`.
    pub handler: Handler,
    /// Milliseconds the whole of it may take; none for a hook, which has no limit of its own.
    pub timeout_ms: Option<u64>,
    /// Whether it is a hook: then any HTTP answer is a success (`runHTTPHandler`), and HTTPS that is
    /// answered in plain HTTP falls back to HTTP, which is a `Warning`.
    pub is_hook: bool,
}

/// From the prober.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReply {
    /// The request's.
    pub id: u64,
    /// What came of it.
    pub verdict: ProbeVerdict,
    /// In the kubelet's words, such as `HTTP probe failed with statuscode: 500`; at most
    /// [`MAX_PROBE_OUTPUT`] bytes; never what a server has said in its body.
    pub output: String,
}
