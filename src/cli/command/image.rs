//! `podrun image`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::command::get;
use crate::cli::failure::{FAILED, Failure, NOT_FOUND};
use crate::cli::options::{Global, Image, ImageCommand, ImageOutput};
use crate::cli::render::format;
use crate::cli::render::table::table;
use crate::cli::{input, render};
use crate::image::{
    self, ConfigChanges, CredentialFiles, Digest, ImageError, ImageStore, Progress, PullConfig,
    PullSecret, Reference, Registries,
};
use crate::lifecycle::kubectl::human_duration;
use crate::names::ObjectName;
use crate::plan::ImageConfig;
use crate::runtime::idmap::IdMap;
use crate::runtime::unpack::Unpacker;
use crate::store::{PodRecord, Store};

/// Performs the command.
///
/// # Errors
/// As the exit codes say.
pub(crate) fn run(global: &Global, options: &Image) -> Result<u8, Failure> {
    let store = input::open_store(global)?;
    let images = ImageStore::open(store.data_dir()).map_err(|error| worded(&error))?;
    let ids = IdMap::of_this_user();
    match &options.command {
        ImageCommand::Pull { images: names } => {
            for name in names {
                let reference = parse(name)?;
                let image = pull(&images, &ids, &reference, Vec::new())?;
                render::line(&format!("{}@{}", reference.repository(), image.digest))?;
            }
        }
        ImageCommand::Ls { output } => list(&images, *output)?,
        ImageCommand::Rm { images: names } => {
            for name in names {
                let reference = parse(name)?;
                if let Some(pod) = user(&store, &reference)? {
                    let message = format!("image {} is used by pod/{pod}", reference.familiar());
                    return Err(Failure::with_code(FAILED, message)
                        .hinted(format!("remove the pod first: `podrun rm {pod}`")));
                }
                images.remove(&reference).map_err(|error| worded(&error))?;
                render::line(&format!("image {} removed", reference.familiar()))?;
            }
        }
        ImageCommand::Load { archive, tag } => {
            let tag = tag.as_deref().map(parse).transpose()?;
            let loaded = image::load(&images, archive, tag.as_ref(), &Unpacker(&ids))
                .map_err(|error| worded(&error))?;
            render::line(&format!(
                "{}@{}",
                loaded.reference.repository(),
                loaded.digest
            ))?;
        }
        ImageCommand::Import {
            archive,
            image: name,
            entrypoint,
            cmd,
            env,
            user,
            workdir,
            stop_signal,
        } => {
            let changes = ConfigChanges(ImageConfig {
                entrypoint: entrypoint.clone(),
                cmd: cmd.clone(),
                env: env.clone(),
                user: user.clone().unwrap_or_default(),
                working_dir: workdir.clone().unwrap_or_default(),
                stop_signal: stop_signal.clone().unwrap_or_default(),
            });
            let reference = parse(name)?;
            let made = image::import(&images, archive, &reference, &changes, &Unpacker(&ids))
                .map_err(|error| worded(&error))?;
            render::line(&format!("{}@{}", made.reference.repository(), made.digest))?;
        }
        ImageCommand::Inspect { image: name } => {
            let reference = parse(name)?;
            let found = images
                .get(&reference)
                .map_err(|error| worded(&error))?
                .ok_or_else(|| {
                    Failure::with_code(
                        NOT_FOUND,
                        format!("image {} is not here", reference.familiar()),
                    )
                })?;
            render::line(&format::json(
                &images.inspect(&found).map_err(|error| worded(&error))?,
            )?)?;
        }
    }
    Ok(0)
}

/// A pod that has an image and has not ended: its layers are mounted.
fn user(store: &Store, image: &Reference) -> Result<Option<ObjectName>, Failure> {
    let uses = |pod: &PodRecord| {
        let mut images = get::images(pod).into_iter();
        images.any(|written| Reference::parse(&written).is_ok_and(|known| known == *image))
    };
    let pods = store.pods().map_err(Failure::internal)?;
    let mut users = pods.into_iter().filter(|pod| uses(pod) && !pod.has_ended());
    Ok(users.next().map(|pod| pod.record.name))
}

fn parse(text: &str) -> Result<Reference, Failure> {
    Reference::parse(text).map_err(|error| {
        let failure = Failure::with_code(2, error.to_string());
        match error.hint() {
            Some(hint) => failure.hinted(hint),
            None => failure,
        }
    })
}

fn worded(error: &ImageError) -> Failure {
    let code = match error {
        ImageError::NotFound { .. } => NOT_FOUND,
        ImageError::Io { .. } | ImageError::Config { .. } => 125,
        _ => FAILED,
    };
    let failure = Failure::with_code(code, error.to_string());
    match error.hint() {
        Some(hint) => failure.hinted(hint),
        None => failure,
    }
}

fn list(images: &ImageStore, output: Option<ImageOutput>) -> Result<(), Failure> {
    let all = images.list().map_err(|error| worded(&error))?;
    if output == Some(ImageOutput::Name) {
        for image in &all {
            render::line(&image.reference.familiar())?;
        }
        return Ok(());
    }
    if output == Some(ImageOutput::Json) {
        let values: Vec<_> = all
            .iter()
            .map(|image| {
                json!({"name": image.reference.to_string(), "digest": image.digest, "size": image.size, "pulled": image.pulled})
            })
            .collect();
        return render::line(&format::json(&json!(values))?);
    }
    let now = jiff::Timestamp::now();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|image| {
            vec![
                image.reference.familiar(),
                image.digest.short().to_owned(),
                indicatif::HumanBytes(image.size).to_string(),
                human_duration(now.duration_since(image.pulled).as_secs()),
            ]
        })
        .collect();
    render::line(&table(Some(&["IMAGE", "DIGEST", "SIZE", "AGE"]), &rows))
}

/// Pulls an image with the user's configuration and shows how it goes.
///
/// # Errors
/// In the kubelet's words (`ErrImagePull`).
pub(crate) fn pull(
    store: &ImageStore,
    ids: &IdMap,
    reference: &Reference,
    secrets: Vec<PullSecret>,
) -> Result<image::Image, Failure> {
    let config = PullConfig {
        secrets,
        ..pull_config()?
    };
    let progress = Shown::new(reference);
    let pulled = image::pull(store, reference, &config, &Unpacker(ids), &progress);
    progress.end();
    pulled.map_err(|error| {
        let failure = Failure::with_code(FAILED, format!("ErrImagePull: {error}"));
        match error.hint() {
            Some(hint) => failure.hinted(hint),
            None => failure,
        }
    })
}

/// The files that users of podman, skopeo and docker have.
fn pull_config() -> Result<PullConfig, Failure> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = variable("HOME");
    let mut credentials = Vec::new();
    credentials.extend(variable("REGISTRY_AUTH_FILE"));
    credentials.extend(dirs::runtime_dir().map(|dir| dir.join("containers/auth.json")));
    credentials.extend(variable("DOCKER_CONFIG").map(|dir| dir.join("config.json")));
    // Without HOME the crate would ask the name service, which a static binary has not.
    let config = home.as_ref().and_then(|_| dirs::config_dir());
    credentials.extend(config.as_ref().map(|dir| dir.join("containers/auth.json")));
    credentials.extend(home.map(|home| home.join(".docker/config.json")));
    let configured = variable("CONTAINERS_REGISTRIES_CONF")
        .or_else(|| config.map(|dir| dir.join("containers/registries.conf")))
        .filter(|path| path.exists())
        .or_else(|| Some(PathBuf::from("/etc/containers/registries.conf")))
        .filter(|path| path.exists());
    let registries = match configured {
        None => Registries::default(),
        Some(path) => {
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Failure::internal(format!("{} cannot be read: {error}", path.display()))
            })?;
            Registries::parse(&path, &text).map_err(|error| worded(&error))?
        }
    };
    Ok(PullConfig {
        registries,
        credentials: CredentialFiles(credentials),
        secrets: Vec::new(),
    })
}

/// Bars on a terminal, a plain line for each event elsewhere.
struct Shown {
    bars: Option<MultiProgress>,
    layers: Mutex<BTreeMap<Digest, ProgressBar>>,
}

impl Shown {
    fn new(reference: &Reference) -> Self {
        render::say(&format!(
            "pulling {}",
            render::visible(&reference.familiar())
        ));
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self {
            bars,
            layers: Mutex::new(BTreeMap::new()),
        }
    }

    fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.clear().ok();
        }
    }

    fn with_bar(&self, layer: &Digest, act: impl FnOnce(&ProgressBar)) {
        if let Ok(layers) = self.layers.lock()
            && let Some(bar) = layers.get(layer)
        {
            act(bar);
        }
    }

    fn plain(&self, layer: &Digest, what: &str) {
        if self.bars.is_none() {
            render::say(&format!("  {} {what}", layer.short()));
        }
    }
}

impl Progress for Shown {
    fn layer_started(&self, layer: &Digest, size: u64) {
        match &self.bars {
            None => self.plain(layer, &format!("{}", indicatif::HumanBytes(size))),
            Some(bars) => {
                let style = "  {prefix} {bar:30} {bytes}/{total_bytes} {msg}";
                let bar = bars.add(ProgressBar::new(size));
                if let Ok(style) = ProgressStyle::with_template(style) {
                    bar.set_style(style);
                }
                bar.set_prefix(layer.short().to_owned());
                if let Ok(mut layers) = self.layers.lock() {
                    layers.insert(layer.clone(), bar);
                }
            }
        }
    }

    fn layer_advanced(&self, layer: &Digest, bytes: u64) {
        self.with_bar(layer, |bar| bar.set_position(bytes));
    }

    fn layer_unpacking(&self, layer: &Digest) {
        self.with_bar(layer, |bar| bar.set_message("unpacking"));
    }

    fn layer_finished(&self, layer: &Digest, present: bool) {
        self.plain(layer, if present { "is here already" } else { "done" });
        self.with_bar(layer, |bar| bar.finish_with_message("done"));
    }

    fn layer_waiting(&self, layer: &Digest) {
        self.plain(layer, "is being pulled by another podrun");
    }

    fn warning(&self, text: &str) {
        render::warn(text);
    }
}
