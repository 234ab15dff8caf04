//! What a pull tells about itself while it works.

use super::Digest;

/// Told about each layer from the puller's threads; the command line draws bars or prints lines.
pub trait Progress: Sync {
    /// A layer begins to be downloaded; `size` is that of the compressed blob.
    fn layer_started(&self, layer: &Digest, size: u64);
    /// So many bytes of the layer are here, those of an earlier attempt included.
    fn layer_advanced(&self, layer: &Digest, bytes: u64);
    /// The layer is whole and is being unpacked.
    fn layer_unpacking(&self, layer: &Digest);
    /// The layer is ready; `present` when there was nothing to do.
    fn layer_finished(&self, layer: &Digest, present: bool);
    /// Another podrun is at work on the layer and this one waits for it.
    fn layer_waiting(&self, layer: &Digest);
    /// Something the user should know that is no failure; one line, escaped.
    fn warning(&self, text: &str);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn layer_started(&self, _layer: &Digest, _size: u64) {}
    fn layer_advanced(&self, _layer: &Digest, _bytes: u64) {}
    fn layer_unpacking(&self, _layer: &Digest) {}
    fn layer_finished(&self, _layer: &Digest, _present: bool) {}
    fn layer_waiting(&self, _layer: &Digest) {}
    fn warning(&self, _text: &str) {}
}
