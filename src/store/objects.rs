//! Objects beside Pods that `up` was given: kept until they are removed, synced to the disk.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use crate::names::{Namespace, ObjectKind, ObjectName};
use crate::store::{Durability, Store, StoreError, atomic_write, read_bounded};

/// The largest object that is read.
const LIMIT: u64 = 8 * 1024 * 1024;

/// A stored object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: ObjectName,
    /// The whole object.
    pub value: serde_json::Value,
}

impl Object {
    /// The namespace in the records of objects that belong to none; events of such objects are there
    /// in a cluster, too.
    pub fn namespace_of_none() -> Namespace {
        Namespace::default()
    }
}

impl Store {
    fn kind_dir(&self, namespace: &Namespace, kind: ObjectKind) -> PathBuf {
        self.objects_dir()
            .join(namespace.as_str())
            .join(kind.word())
    }

    /// Stores an object; it survives a power cut.
    ///
    /// # Errors
    /// As `mkdir(2)`, `write(2)` and `fsync(2)`.
    pub fn put_object(&self, object: &Object) -> Result<(), StoreError> {
        let path = self.kind_dir(&object.namespace, object.kind);
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(&path)?;
            let dir = rustix::fs::open(
                &path,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let bytes = serde_json::to_vec(&object.value)?;
            atomic_write(
                dir.as_fd(),
                &format!("{}.json", object.name),
                &bytes,
                Durability::Durable,
            )
        };
        write().map_err(StoreError::io("written", &path))
    }

    /// One object.
    ///
    /// # Errors
    /// A file that cannot be read or is broken.
    pub fn object(
        &self,
        kind: ObjectKind,
        namespace: &Namespace,
        name: &ObjectName,
    ) -> Result<Option<Object>, StoreError> {
        let path = self.kind_dir(namespace, kind);
        let dir = match std::fs::File::open(&path) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("opened", path)(error)),
        };
        let file = format!("{name}.json");
        let Some(bytes) =
            read_bounded(&dir, &file, LIMIT).map_err(StoreError::io("read", path.join(&file)))?
        else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&bytes).map_err(|error| StoreError::Broken {
            path: path.join(&file),
            problem: error.to_string(),
        })?;
        Ok(Some(Object {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
            value,
        }))
    }

    /// All objects of a kind, by namespace and name; a broken one is passed by.
    ///
    /// # Errors
    /// When the directories cannot be read.
    pub fn objects(&self, kind: ObjectKind) -> Result<Vec<Object>, StoreError> {
        let root = self.objects_dir();
        let mut found = Vec::new();
        let namespaces = std::fs::read_dir(&root).map_err(StoreError::io("read", &root))?;
        for namespace in namespaces.flatten() {
            let Ok(namespace) = Namespace::new(namespace.file_name().to_string_lossy()) else {
                continue;
            };
            let Ok(files) = std::fs::read_dir(self.kind_dir(&namespace, kind)) else {
                continue;
            };
            for file in files.flatten() {
                let file = file.file_name();
                let name = file.to_str().and_then(|name| name.strip_suffix(".json"));
                let Some(name) = name.and_then(|name| ObjectName::new(name).ok()) else {
                    continue;
                };
                if let Ok(Some(object)) = self.object(kind, &namespace, &name) {
                    found.push(object);
                }
            }
        }
        found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(found)
    }

    /// Removes an object; says whether there was one.
    ///
    /// # Errors
    /// As `unlink(2)`.
    pub fn remove_object(
        &self,
        kind: ObjectKind,
        namespace: &Namespace,
        name: &ObjectName,
    ) -> Result<bool, StoreError> {
        let path = self.kind_dir(namespace, kind).join(format!("{name}.json"));
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("removed", path)(error)),
        }
    }
}
