//! `podrun logs`.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;

use crate::cli::command::exec::pick_container;
use crate::cli::command::get;
use crate::cli::failure::{Failure, NOT_FOUND};
use crate::cli::options::{Global, Logs};
use crate::cli::selector::Selector;
use crate::cli::{duration, input, render};
use crate::store::log::attempts;
use crate::store::{Line, Liveness, LogCursor, PodRecord, Store, Stream};

/// Bytes that are written at once.
const BATCH: usize = 256 * 1024;

/// One container whose log is printed.
struct Source {
    cursor: LogCursor,
    prefix: String,
    is_open: bool,
}

/// Performs the command.
///
/// # Errors
/// No such pod, container or run (4).
pub(crate) fn run(global: &Global, options: &Logs) -> Result<u8, Failure> {
    let store = input::open_store(global)?;
    let pods = match (&options.pod, &options.selector) {
        (Some(pod), None) => vec![get::find_pod(global, &store, pod)?],
        (None, Some(selector)) => selected(global, &store, selector)?,
        _ => return Err(Failure::with_code(2, "name a pod, or use -l SELECTOR")),
    };
    let since = match &options.since {
        None => None,
        Some(text) => {
            let ago = duration::of_option("--since", text)?;
            let ago = jiff::SignedDuration::try_from(ago).map_err(Failure::internal)?;
            jiff::Timestamp::now()
                .checked_sub(ago)
                .ok()
                .map(|time| format!("{time:.9}"))
        }
    };
    let mut sources = Vec::new();
    for pod in &pods {
        let containers = if options.all_containers || options.selector.is_some() {
            let all = get::all_containers(pod).into_iter();
            all.map(|container| container.name).collect()
        } else {
            vec![pick_container(pod, options.container.as_deref())?.to_string()]
        };
        for container in containers {
            sources.push(open(pod, &container, options)?);
        }
    }
    let mut printer = Printer {
        since,
        timestamps: options.timestamps,
        out: Vec::new(),
        err: Vec::new(),
    };
    for source in &mut sources {
        printer.print(source)?;
    }
    if options.follow && !options.previous {
        follow(&pods, &mut sources, &mut printer)?;
    }
    Ok(0)
}

fn selected(global: &Global, store: &Store, text: &str) -> Result<Vec<PodRecord>, Failure> {
    let namespace = input::namespace(global)?;
    let selector = Selector::parse(Some(text))?;
    let mut pods = store.pods().map_err(Failure::internal)?;
    pods.retain(|pod| pod.record.namespace == namespace && selector.fits(&get::labels(pod)));
    if pods.is_empty() {
        render::say(&format!("No resources found in {namespace} namespace."));
    }
    Ok(pods)
}

fn open(pod: &PodRecord, container: &str, options: &Logs) -> Result<Source, Failure> {
    let path = pod.dir.path().join("logs").join(container);
    let runs = attempts(&path)
        .map_err(|error| Failure::internal(format!("{}: {error}", path.display())))?;
    let latest = runs.last().map_or(0, |run| run.number);
    let (from, to) = if options.previous {
        let Some(previous) = latest.checked_sub(1) else {
            return Err(Failure::with_code(
                NOT_FOUND,
                format!(
                    "container `{container}` of pod/{} has no previous run",
                    pod.record.name
                ),
            ));
        };
        (previous, Some(previous))
    } else {
        (latest, (!options.follow).then_some(latest))
    };
    let mut cursor = LogCursor::new(&path, from, to);
    if let Some(lines) = options.tail {
        cursor.seek_tail(lines).map_err(Failure::internal)?;
    }
    let prefix = if options.prefix {
        format!("[pod/{}/{container}] ", pod.record.name)
    } else {
        String::new()
    };
    Ok(Source {
        cursor,
        prefix,
        is_open: false,
    })
}

struct Printer {
    /// Lines before this time are passed by; times of one width compare as text.
    since: Option<String>,
    timestamps: bool,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Printer {
    fn print(&mut self, source: &mut Source) -> Result<(), Failure> {
        let Source {
            cursor,
            prefix,
            is_open,
        } = source;
        cursor
            .read_new(&mut |line| self.take(line, prefix, is_open))
            .and_then(|()| self.flush())
            .map_err(|error| render::output_failure(&error))
    }

    fn take(&mut self, line: &Line<'_>, prefix: &str, is_open: &mut bool) -> io::Result<()> {
        if self
            .since
            .as_ref()
            .is_some_and(|since| line.time < since.as_bytes())
        {
            return Ok(());
        }
        let out = match line.stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        if !*is_open {
            out.extend_from_slice(prefix.as_bytes());
            if self.timestamps {
                out.extend_from_slice(line.time);
                out.push(b' ');
            }
        }
        out.extend_from_slice(line.content);
        *is_open = !line.is_full;
        if line.is_full {
            out.push(b'\n');
        }
        if self.out.len() >= BATCH || self.err.len() >= BATCH {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Both streams go where they came from, as `kubectl logs` cannot and people expect.
    fn flush(&mut self) -> io::Result<()> {
        let stdout = io::stdout();
        let mut stdout = stdout.lock();
        stdout.write_all(&self.out)?;
        stdout.flush()?;
        self.out.clear();
        io::stderr().lock().write_all(&self.err)?;
        self.err.clear();
        Ok(())
    }
}

/// Goes on until all pods have ended.
fn follow(
    pods: &[PodRecord],
    sources: &mut [Source],
    printer: &mut Printer,
) -> Result<(), Failure> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(Failure::internal)?;
    let flags = inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_FROM
        | inotify::WatchFlags::DELETE_SELF;
    for pod in pods {
        for container in get::all_containers(pod) {
            let path = pod.dir.path().join("logs").join(container.name);
            inotify::add_watch(&inotify, &path, flags).ok();
        }
    }
    let supervisors: Vec<OwnedFd> = pods
        .iter()
        .filter(|pod| pod.liveness == Liveness::Alive)
        .filter_map(|pod| pod.dir.read_identity()?.open_verified())
        .collect();
    let mut alive: Vec<&OwnedFd> = supervisors.iter().collect();
    loop {
        for source in &mut *sources {
            printer.print(source)?;
        }
        if alive.is_empty() {
            return Ok(());
        }
        let stdout = io::stdout();
        let mut watched = vec![PollFd::new(&inotify, PollFlags::IN)];
        // A reader that has gone ends this, even if nothing is written any more.
        watched.push(PollFd::new(&stdout, PollFlags::empty()));
        watched.extend(alive.iter().map(|pidfd| PollFd::new(*pidfd, PollFlags::IN)));
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Failure::internal(errno)),
        }
        let mut states = watched.iter().map(PollFd::revents);
        states.next();
        if states
            .next()
            .is_some_and(|state| state.intersects(PollFlags::ERR | PollFlags::HUP))
        {
            return Err(Failure::with_code(141, ""));
        }
        let ended: Vec<bool> = states.map(|state| !state.is_empty()).collect();
        let mut ended = ended.into_iter();
        alive.retain(|_| ended.next() != Some(true));
        let mut events = [0_u8; 4096];
        while matches!(rustix::io::read(inotify.as_fd(), &mut events), Ok(length) if length > 0) {}
    }
}
