//! Hints: what to do about an error, in the words of whatever calls the library.

use std::borrow::Cow;
use std::fmt;

/// A surface of treering, which has its own words for commands, functions and options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Surface {
    /// Programs in Rust.
    Rust,
    /// People at the `treering` command.
    Command,
    /// Programs in C, and in other languages that call C.
    C,
    /// Programs in Go.
    Go,
    /// Programs in Python.
    Python,
}

impl Surface {
    /// All surfaces.
    pub const ALL: [Surface; 5] = [Surface::Rust, Surface::Command, Surface::C, Surface::Go, Surface::Python];
}

/// A way out of an error. A hint that names a command, a function or an option is a variant of its own, so that every
/// surface gives it in words that its users can type; the others are text.
///
/// ```
/// use treering::{Hint, Surface};
/// let hint = Hint::ListImages;
/// assert_eq!(hint.to_string(), "Store::entries lists what is in the store");
/// assert_eq!(hint.words(Surface::Command), "treering images lists what is in the store");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hint {
    /// Words that hold everywhere.
    Text(Cow<'static, str>),
    /// List the images of the store to find the right name.
    ListImages,
    /// Get the image that a build starts from.
    GetImage,
    /// Choose one of the platforms that the image has.
    ChoosePlatform {
        /// The platforms, as `os/arch[/variant]`.
        have: Vec<String>,
    },
    /// See what else is damaged and get the image again.
    GetDamagedAgain,
    /// See what is damaged.
    CheckStore,
    /// Find the damaged images and remove them.
    RemoveDamaged,
    /// Open the store with larger limits.
    RaiseStoreLimits,
    /// Raise the limit on how much larger than its compressed size a layer may be.
    RaiseRatio,
    /// Raise the limit on the bytes of a layer.
    RaiseBytes,
    /// Raise the limit on the memory of a list of layer entries.
    RaiseMemory,
    /// Let names move to the new images, or leave them out.
    MoveNames,
    /// Name the base of the tree, as its recorded one is not usable.
    NameBase,
    /// Name the image that the lower directories of an overlay are.
    NameOverlayBase,
    /// Put everything into one layer.
    Squash,
    /// Commit an overlay's upper directory as one.
    CommitUpper,
    /// Rename a file, or commit an overlay's upper directory as one.
    RenameOrCommitUpper,
    /// Finish a checkout that was stopped.
    FinishCheckout {
        /// The image that the tree becomes.
        image: String,
        /// The directory.
        tree: String,
    },
    /// Throw away local changes that cannot be listed.
    Discard,
    /// Commit local changes, or throw them away.
    CommitOrDiscard,
    /// Move a tree back, or have the store forget it.
    ForgetTree {
        /// The path that the tree had.
        path: String,
    },
    /// Import a tar that is no image archive.
    Import,
    /// Apply a layer that is no whole filesystem.
    ApplyLayer,
    /// Add to a list of manifests that is there, or remove it.
    AmendList,
    /// Name another Dockerfile.
    NameDockerfile,
    /// Give a build the secret that a command requires.
    GiveSecret {
        /// Its id.
        id: String,
    },
    /// Give a build the agent that a command requires.
    GiveAgent {
        /// Its id.
        id: String,
    },
    /// See which ways to run a command this machine has.
    ListRungs,
    /// Leave out what is mounted below the tree.
    LeaveOutMounts,
    /// Load the images of a layout that is no store.
    LoadLayout,
}

/// The words of a surface for what hints are about. Where it has no such thing, the words describe it.
struct Names {
    images: &'static str,
    fsck: &'static str,
    remove: &'static str,
    prune_trees: &'static str,
    import: &'static str,
    apply_layer: &'static str,
    info: &'static str,
    platform: &'static str,
    store_limits: &'static str,
    ratio: &'static str,
    bytes: &'static str,
    memory: &'static str,
    move_names: &'static str,
    ignore_names: &'static str,
    base: &'static str,
    overlay_base: &'static str,
    squash: &'static str,
    upper: &'static str,
    discard: &'static str,
    amend: &'static str,
    dockerfile: &'static str,
    secret: &'static str,
    agent: &'static str,
    mounts: &'static str,
    load: &'static str,
}

const RUST: Names = Names {
    images: "Store::entries",
    fsck: "Store::fsck",
    remove: "Store::remove",
    prune_trees: "image::tidy (TidyOptions::lost_trees)",
    import: "archive::import",
    apply_layer: "image::apply_layer",
    info: "info::info",
    platform: "the platform of the options",
    store_limits: "Store::open_with takes larger limits",
    ratio: "DecodeLimits::ratio",
    bytes: "DecodeLimits::max_output",
    memory: "ListOptions::max_memory",
    move_names: "NamePolicy::Move",
    ignore_names: "NamePolicy::Ignore",
    base: "Base::Image or Base::Scratch",
    overlay_base: "Base::Image",
    squash: "CommitOptions::squash",
    upper: "CommitOptions::lowers",
    discard: "CheckoutOptions::discard",
    amend: "registry::create_list with `amend`",
    dockerfile: "BuildOptions::dockerfile",
    secret: "BuildOptions::secrets",
    agent: "BuildOptions::agents",
    mounts: "ScanOptions::one_file_system",
    load: "archive::load takes its images (archive::open_layout)",
};

const COMMAND: Names = Names {
    images: "treering images",
    fsck: "treering fsck",
    remove: "treering rmi",
    prune_trees: "treering prune --trees",
    import: "treering import",
    apply_layer: "treering layer apply",
    info: "treering info",
    platform: "--platform",
    store_limits: "treering rmi removes it; programs open the store with larger limits",
    ratio: "--max-ratio",
    bytes: "max_bytes in the libraries",
    memory: "max_memory in the libraries",
    move_names: "--names move",
    ignore_names: "--names ignore",
    base: "--base IMAGE or --base scratch",
    overlay_base: "--base IMAGE",
    squash: "--squash",
    upper: "--upper",
    discard: "--discard",
    amend: "--amend",
    dockerfile: "-f FILE",
    secret: "--secret id=ID,src=FILE",
    agent: "--ssh ID=SOCKET",
    mounts: "-x",
    load: "treering load -i DIR takes its images",
};

const C: Names = Names {
    images: "treering_refs_list()",
    fsck: "treering_store_fsck()",
    remove: "treering_refs_remove()",
    prune_trees: "treering_store_prune() with `lost_trees`",
    import: "treering_archive_import_fd()",
    apply_layer: "treering_layer_apply_fd()",
    info: "treering_info()",
    platform: "`platform` in the options",
    store_limits: "treering_store_open() takes larger limits (treering_store_options)",
    ratio: "`max_ratio` in the options",
    bytes: "`max_bytes` in the options",
    memory: "`max_memory` in the options",
    move_names: "names \"move\"",
    ignore_names: "\"ignore\"",
    base: "a reference or \"scratch\" as `base`",
    overlay_base: "a reference as `base`",
    squash: "`squash` in the options",
    upper: "`lowers` in the options",
    discard: "`discard` in the options",
    amend: "treering_registry_list_create() with `amend`",
    dockerfile: "`dockerfile` in the options",
    secret: "`secrets` or `secret_files` in the options",
    agent: "`agents` in the options",
    mounts: "`one_file_system` in the options",
    load: "treering_archive_load_fd() takes its images, as a tar",
};

const GO: Names = Names {
    images: "Store.Refs",
    fsck: "Store.Fsck",
    remove: "Store.Remove",
    prune_trees: "Store.Prune with LostTrees",
    import: "Store.Import",
    apply_layer: "ApplyLayer",
    info: "Info",
    platform: "Platform in the options",
    store_limits: "OpenWith takes larger limits (StoreOptions)",
    ratio: "MaxRatio in the options",
    bytes: "MaxBytes in the options",
    memory: "MaxMemory in the options",
    move_names: "MoveNames",
    ignore_names: "IgnoreNames",
    base: "a reference or \"scratch\" as Base",
    overlay_base: "a reference as Base",
    squash: "Squash in CommitOptions",
    upper: "Lowers in CommitOptions",
    discard: "Discard in CheckoutOptions",
    amend: "Store.CreateList with amend",
    dockerfile: "Dockerfile in BuildOptions",
    secret: "Secrets or SecretFiles in BuildOptions",
    agent: "Agents in BuildOptions",
    mounts: "OneFileSystem in the options",
    load: "Store.Load takes its images, as a tar",
};

const PYTHON: Names = Names {
    images: "Store.images()",
    fsck: "Store.fsck()",
    remove: "Store.remove()",
    prune_trees: "Store.prune(lost_trees=True)",
    import: "Store.import_()",
    apply_layer: "layer_apply()",
    info: "info()",
    platform: "platform=",
    store_limits: "Store(path, max_document_bytes=…) and its other limits take more",
    ratio: "max_ratio=",
    bytes: "max_bytes=",
    memory: "max_memory=",
    move_names: "names=\"move\"",
    ignore_names: "names=\"ignore\"",
    base: "base=IMAGE or base=\"scratch\"",
    overlay_base: "base=IMAGE",
    squash: "squash=True",
    upper: "lowers=",
    discard: "discard=True",
    amend: "Store.create_list(amend=True)",
    dockerfile: "dockerfile=",
    secret: "secrets= or secret_files=",
    agent: "agents=",
    mounts: "one_file_system=True",
    load: "Store.load() takes its images, as a tar",
};

impl Hint {
    /// Returns the hint in the words of a surface.
    pub fn words(&self, surface: Surface) -> Cow<'_, str> {
        let names = match surface {
            Surface::Rust => &RUST,
            Surface::Command => &COMMAND,
            Surface::C => &C,
            Surface::Go => &GO,
            Surface::Python => &PYTHON,
        };
        let Names { images, fsck, remove, .. } = names;
        let said = match self {
            Hint::Text(text) => return Cow::Borrowed(text),
            Hint::ListImages => format!("{images} lists what is in the store"),
            Hint::GetImage => {
                format!("load, import or pull the image first; {images} lists what is in the store")
            }
            Hint::ChoosePlatform { have } => {
                format!("choose with {} among: {}", names.platform, have.join(", "))
            }
            Hint::GetDamagedAgain => {
                format!("{fsck} shows what else is damaged; pull or load the image again")
            }
            Hint::CheckStore => format!("the store is damaged: {fsck} shows where"),
            Hint::RemoveDamaged => {
                format!("{fsck} lists the damaged images; remove them with {remove}, or load them again")
            }
            Hint::RaiseStoreLimits => {
                format!("its documents are over the limits of the store: {}", names.store_limits)
            }
            Hint::RaiseRatio => {
                format!("if you trust it, raise the limit ({}) or decompress it first", names.ratio)
            }
            Hint::RaiseBytes => {
                format!("if you trust this image, raise the limit on its bytes ({})", names.bytes)
            }
            Hint::RaiseMemory => {
                format!(
                    "if you trust this layer, raise the limit on the memory of its list ({})",
                    names.memory
                )
            }
            Hint::MoveNames => {
                let Names { move_names, ignore_names, .. } = names;
                format!("{move_names} gives the name to the new image, {ignore_names} leaves it out")
            }
            Hint::NameBase => format!("the tree's base is not usable: name one with {}", names.base),
            Hint::NameOverlayBase => {
                format!("{}: the image that the lower directories are the tree of", names.overlay_base)
            }
            Hint::Squash => format!("{} drops the layers and the history of the base", names.squash),
            Hint::CommitUpper => {
                format!("to commit an overlay upper directory, say that it is one: {}", names.upper)
            }
            Hint::RenameOrCommitUpper => {
                format!("rename or remove it, or commit it as an overlay upper directory: {}", names.upper)
            }
            Hint::FinishCheckout { image, tree } => match surface {
                Surface::Command => format!("treering checkout {image} {tree} finishes it"),
                Surface::Rust => format!("image::checkout to {image} finishes it"),
                Surface::Python => format!("Store.checkout() to {image} finishes it"),
                Surface::C => format!("treering_checkout() to {image} finishes it"),
                Surface::Go => format!("Store.Checkout to {image} finishes it"),
            },
            Hint::Discard => format!("{} throws away whatever there is", names.discard),
            Hint::CommitOrDiscard => format!("commit them, or throw them away with {}", names.discard),
            Hint::ForgetTree { path } => {
                format!("move it back to {path}, or forget that tree with {}", names.prune_trees)
            }
            Hint::Import => format!("{} makes an image of a tar of a filesystem", names.import),
            Hint::ApplyLayer => {
                format!("{} unpacks layers; an import takes whole filesystems", names.apply_layer)
            }
            Hint::AmendList => format!("{} adds to a list, or remove it first", names.amend),
            Hint::NameDockerfile => format!("name another file with {}", names.dockerfile),
            Hint::GiveSecret { id } => format!("give the secret {id} with {}", names.secret),
            Hint::GiveAgent { id } => format!("give the agent {id} with {}", names.agent),
            Hint::ListRungs => format!("{} shows every way, and what it takes", names.info),
            Hint::LeaveOutMounts => format!("{} leaves out what is mounted in the tree", names.mounts),
            Hint::LoadLayout => {
                format!("name an empty or a new directory; this one is an image layout: {}", names.load)
            }
        };
        Cow::Owned(said)
    }

    /// Returns one of each variant. Not part of the stable interface: for tests.
    #[doc(hidden)]
    pub fn samples() -> Vec<Hint> {
        // A variant without a sample does not compile.
        let next = |hint: &Hint| match hint {
            Hint::Text(_) => Some(Hint::ListImages),
            Hint::ListImages => Some(Hint::GetImage),
            Hint::GetImage => Some(Hint::ChoosePlatform { have: vec!["linux/arm64".into()] }),
            Hint::ChoosePlatform { .. } => Some(Hint::GetDamagedAgain),
            Hint::GetDamagedAgain => Some(Hint::CheckStore),
            Hint::CheckStore => Some(Hint::RemoveDamaged),
            Hint::RemoveDamaged => Some(Hint::RaiseStoreLimits),
            Hint::RaiseStoreLimits => Some(Hint::RaiseRatio),
            Hint::RaiseRatio => Some(Hint::RaiseBytes),
            Hint::RaiseBytes => Some(Hint::RaiseMemory),
            Hint::RaiseMemory => Some(Hint::MoveNames),
            Hint::MoveNames => Some(Hint::NameBase),
            Hint::NameBase => Some(Hint::NameOverlayBase),
            Hint::NameOverlayBase => Some(Hint::Squash),
            Hint::Squash => Some(Hint::CommitUpper),
            Hint::CommitUpper => Some(Hint::RenameOrCommitUpper),
            Hint::RenameOrCommitUpper => {
                Some(Hint::FinishCheckout { image: "sha256:0a1b".into(), tree: "rootfs".into() })
            }
            Hint::FinishCheckout { .. } => Some(Hint::Discard),
            Hint::Discard => Some(Hint::CommitOrDiscard),
            Hint::CommitOrDiscard => Some(Hint::ForgetTree { path: "/srv/rootfs".into() }),
            Hint::ForgetTree { .. } => Some(Hint::Import),
            Hint::Import => Some(Hint::ApplyLayer),
            Hint::ApplyLayer => Some(Hint::AmendList),
            Hint::AmendList => Some(Hint::NameDockerfile),
            Hint::NameDockerfile => Some(Hint::GiveSecret { id: "token".into() }),
            Hint::GiveSecret { .. } => Some(Hint::GiveAgent { id: "default".into() }),
            Hint::GiveAgent { .. } => Some(Hint::ListRungs),
            Hint::ListRungs => Some(Hint::LeaveOutMounts),
            Hint::LeaveOutMounts => Some(Hint::LoadLayout),
            Hint::LoadLayout => None,
        };
        std::iter::successors(Some(Hint::from("try again")), next).collect()
    }
}

impl fmt::Display for Hint {
    /// Writes the hint in the words of Rust.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(Surface::Rust))
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Hint {
        Hint::Text(text.into())
    }
}

impl From<&'static str> for Hint {
    fn from(text: &'static str) -> Hint {
        Hint::Text(text.into())
    }
}
