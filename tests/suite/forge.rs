//! Writes images byte by byte, good ones and such as no tool would make.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness;

/// One entry of a layer.
#[derive(Debug, Clone)]
pub(crate) enum Entry<'a> {
    Dir(&'a str),
    File(&'a str, &'a [u8]),
    Program(&'a str, &'a [u8]),
    /// A program that runs as its owner, who is root.
    Setuid(&'a str, &'a [u8]),
    Link(&'a str, &'a str),
    HardLink(&'a str, &'a str),
    Fifo(&'a str),
    CharDevice(&'a str, u32, u32),
    /// A directory with a mode and the id of its owner.
    OwnedDir(&'a str, u32, u32),
}

/// The digest in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// The target of a link, or a name, that its field in a header cannot hold.
const LONG: usize = 100;

/// A ustar archive of these entries, in this order, with names as they are; a link that is longer
/// than its field follows in GNU's way.
pub(crate) fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let nothing: &[u8] = b"";
        let (name, mode, kind, link, content) = match *entry {
            Entry::Dir(name) => (name, 0o755, b'5', "", nothing),
            Entry::File(name, content) => (name, 0o644, b'0', "", content),
            Entry::Program(name, content) => (name, 0o755, b'0', "", content),
            Entry::Setuid(name, content) => (name, 0o4755, b'0', "", content),
            Entry::Link(name, target) => (name, 0o777, b'2', target, nothing),
            Entry::HardLink(name, target) => (name, 0o644, b'1', target, nothing),
            Entry::Fifo(name) => (name, 0o644, b'6', "", nothing),
            Entry::CharDevice(name, ..) => (name, 0o644, b'3', "", nothing),
            Entry::OwnedDir(name, mode, _) => (name, mode, b'5', "", nothing),
        };
        let owner = match *entry {
            Entry::OwnedDir(_, _, owner) => owner,
            _ => 0,
        };
        for (kind, text) in [(b'K', link), (b'L', name)] {
            if text.len() > LONG {
                let mut header = header("././@LongLink", 0o644, kind);
                finish(&mut out, &mut header, text.as_bytes());
            }
        }
        let cut = |text: &str| text.as_bytes()[..text.len().min(LONG)].to_vec();
        let mut header = header("", mode, kind);
        for (at, text) in [(0, cut(name)), (157, cut(link))] {
            header[at..at + text.len()].copy_from_slice(&text);
        }
        header[108..115].copy_from_slice(format!("{owner:07o}").as_bytes());
        header[116..123].copy_from_slice(format!("{owner:07o}").as_bytes());
        if let Entry::CharDevice(_, major, minor) = *entry {
            header[329..336].copy_from_slice(format!("{major:07o}").as_bytes());
            header[337..344].copy_from_slice(format!("{minor:07o}").as_bytes());
        }
        finish(&mut out, &mut header, content);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// The header of an entry without owner, size, time and sum.
fn header(name: &str, mode: u32, kind: u8) -> [u8; 512] {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = kind;
    header[257..263].copy_from_slice(b"ustar\0");
    header[263..265].copy_from_slice(b"00");
    header
}

/// Adds an entry: its header, with the size and the sum, and its content.
fn finish(out: &mut Vec<u8>, header: &mut [u8; 512], content: &[u8]) {
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    out.extend_from_slice(header);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// An image in an archive.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// An OCI layout as an archive: an image of these layers under one name.
pub(crate) fn archive(name: &str, config: &Value, layers: &[Vec<u8>]) -> Archive {
    archive_of(name, config, layers, layers)
}

/// As [`archive`], of layers that are said to unpack to these archives.
pub(crate) fn archive_of(
    name: &str,
    config: &Value,
    layers: &[Vec<u8>],
    unpacked: &[Vec<u8>],
) -> Archive {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let diff_ids: Vec<String> = unpacked
        .iter()
        .map(|layer| format!("sha256:{}", sha256(layer)))
        .collect();
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let descriptor = |kind: &str, bytes: &[u8]| {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{}", sha256(bytes)),
            "size": bytes.len(),
        })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", config.as_bytes()),
        "layers": layers.iter().map(|layer| descriptor("layer.v1.tar", layer)).collect::<Vec<_>>(),
    })
    .to_string();
    let mut reference = descriptor("manifest.v1+json", manifest.as_bytes());
    reference["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [reference] }).to_string();

    let mut blobs: Vec<&[u8]> = vec![config.as_bytes(), manifest.as_bytes()];
    blobs.extend(layers.iter().map(Vec::as_slice));
    let mut names: Vec<(String, &[u8])> = blobs
        .into_iter()
        .map(|bytes| (format!("blobs/sha256/{}", sha256(bytes)), bytes))
        .collect();
    // One blob may be several layers.
    names.sort_unstable();
    names.dedup();
    let mut entries = vec![
        Entry::File("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        Entry::File("index.json", index.as_bytes()),
        Entry::Dir("blobs"),
        Entry::Dir("blobs/sha256"),
    ];
    entries.extend(names.iter().map(|(name, bytes)| Entry::File(name, bytes)));
    Archive {
        name: name.to_owned(),
        bytes: tar(&entries),
    }
}

/// The layer every test image has: the probe and a user database.
pub(crate) fn probe_layer() -> Vec<u8> {
    let probe = fs::read(harness::probe()).unwrap();
    tar(&[
        Entry::Program("probe", &probe),
        Entry::Dir("etc"),
        Entry::File(
            "etc/passwd",
            b"root:x:0:0:root:/root:/probe\nalice:x:1000:1000::/home/alice:/probe\n",
        ),
        Entry::File(
            "etc/group",
            b"root:x:0:\nalice:x:1000:\nextra:x:2000:alice\nmore:x:2001:root,alice\n",
        ),
        Entry::Dir("tmp"),
    ])
}

/// The image of most tests.
pub(crate) fn probe_image(name: &str) -> Archive {
    archive(name, &json!({}), &[probe_layer()])
}

/// The probe's image with a layer over it and a configuration.
pub(crate) fn image_over_probe(name: &str, config: &Value, entries: &[Entry<'_>]) -> Archive {
    archive(name, config, &[probe_layer(), tar(entries)])
}

/// zstd frames of this content, as it is, and one that readers skip (RFC 8878).
pub(crate) fn zstd(frames: &[&[u8]], skipped: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for content in frames {
        // A window of 1 MiB, and one raw block that is the last.
        out.extend([0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3]);
        let block = u32::try_from(content.len()).unwrap() << 3 | 1;
        out.extend(&block.to_le_bytes()[..3]);
        out.extend(*content);
    }
    out.extend([0x50, 0x2a, 0x4d, 0x18]);
    out.extend(u32::try_from(skipped.len()).unwrap().to_le_bytes());
    out.extend(skipped);
    out
}
