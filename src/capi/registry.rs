//! Images to and from registries.

use std::ffi::c_char;

use super::apply_options::treering_apply_options;
use super::arguments::{Bytes, Out, Text, pairs, texts};
use super::bytes::{self, treering_bytes};
use super::control::{running, treering_control};
use super::error::treering_error;
use super::guard::guard;
use super::handle;
use super::pull_options::treering_pull_options;
use super::push_options::treering_push_options;
use super::registries::{registries_of, treering_registries};
use super::report::{Report, hand_over, treering_report};
use super::status::{treering_digest, treering_pair, treering_status};
use super::store::treering_store;
use super::structures::{Given, Plain, Record};
use super::unpack::treering_unpack_result;
use crate::registry::{self, CopyOptions, ListAnnotation, Pulled};
use crate::store::Limits;

/// An image that was pulled.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_pull_result {
    /// The digest the registry has it under: of the index when it is for several platforms, else of the manifest.
    pub digest: treering_digest,
    /// The digest of the manifest of the platform that was chosen.
    pub manifest: treering_digest,
    /// The image id: the digest of the configuration.
    pub image_id: treering_digest,
    /// Whether the name stood for this very image before, and nothing was missing.
    pub up_to_date: bool,
    /// How many layers were fetched; the others were in the store.
    pub layers_fetched: u64,
    /// How many bytes of layers were fetched.
    pub bytes_fetched: u64,
}
impl Plain for treering_pull_result {}

impl From<&Pulled> for treering_pull_result {
    fn from(pulled: &Pulled) -> treering_pull_result {
        treering_pull_result {
            digest: (&pulled.digest).into(),
            manifest: (&pulled.manifest).into(),
            image_id: (&pulled.image_id).into(),
            up_to_date: pulled.up_to_date,
            layers_fetched: pulled.layers_fetched,
            bytes_fetched: pulled.bytes_fetched,
        }
    }
}

/// An image that was pushed, or copied.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_push_result {
    /// The digest that the registry has it under now.
    pub digest: treering_digest,
    /// The size of the manifest or index, in bytes.
    pub size: u64,
    /// How many blobs were sent.
    pub sent: u64,
    /// How many bytes they have.
    pub bytes_sent: u64,
    /// How many blobs were taken from another repository of the registry.
    pub mounted: u64,
    /// How many blobs were there already.
    pub present: u64,
    /// Whether this machine's platform was pushed alone, because the store does not hold the others of the image.
    pub only_platform: bool,
}
impl Plain for treering_push_result {}

/// Pulls an image as `docker pull` does; the name moves to it. Layers that the store holds are not fetched, transfers that are
/// cut go on, and everything is checked before the name changes. Opens sockets; a wait for the network ends within 100 ms when the
/// control is cancelled.
///
/// Errors: TREERING_NOT_FOUND when the registry does not have it, or nothing for the platform; TREERING_UNAUTHORIZED,
/// TREERING_NETWORK; TREERING_CORRUPT when what arrives is not what was announced; TREERING_LIMIT over a cap.
///
/// @param registries NULL for those of the environment.
/// @param name as `docker pull` takes it: `debian`, `registry.example:5000/app:v1`, `app@sha256:...`.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_pull_result).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registry_pull(
    store: *const treering_store,
    registries: *const treering_registries,
    name: *const c_char,
    options: *const treering_pull_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_pull_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (name, options, out, err) = unsafe {
        (Text::new(name), Given::new(options, options_size), Record::new(out, out_size), Out::new(err))
    };
    guard(err, || {
        let out = out.required("out")?;
        let store = handle::get(store, "store")?;
        let (name, options, registries) =
            (name.required("name")?, options.read()?, registries_of(registries)?);
        let pulled = registry::pull(&store, &registries, name, &options, &*running(control)?)?;
        out.write(&(&pulled).into());
        Ok(())
    })
}

/// Pulls an image as treering_registry_pull() does and unpacks it as treering_unpack() does, both at once: layers are applied while
/// they arrive. After an error neither the name nor the directory is there.
///
/// @param registries NULL for those of the environment.
/// @param options of the pull, its platform among them; NULL for the defaults.
/// @param apply options of the unpacking; their platform is not looked at; NULL for the defaults.
/// @param apply_size sizeof(treering_apply_options).
/// @param control may be NULL.
/// @param out_size sizeof(treering_pull_result).
/// @param unpacked receives what was unpacked; may be NULL.
/// @param unpacked_size sizeof(treering_unpack_result).
/// @param report receives what was lost; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registry_pull_unpack(
    store: *const treering_store,
    registries: *const treering_registries,
    name: *const c_char,
    dir: *const u8,
    dir_len: usize,
    options: *const treering_pull_options,
    options_size: usize,
    apply: *const treering_apply_options,
    apply_size: usize,
    control: *const treering_control,
    out: *mut treering_pull_result,
    out_size: usize,
    unpacked: *mut treering_unpack_result,
    unpacked_size: usize,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (name, dir, options, apply, out, unpacked, report, err) = unsafe {
        (
            Text::new(name),
            Bytes::new(dir, dir_len),
            Given::new(options, options_size),
            Given::new(apply, apply_size),
            Record::new(out, out_size),
            Record::new(unpacked, unpacked_size),
            Out::new(report),
            Out::new(err),
        )
    };
    guard(err, || {
        let (out, place) = (out.required("out")?, unpacked.optional("unpacked")?);
        let store = handle::get(store, "store")?;
        let (name, dir, registries) = (name.required("name")?, dir.path("dir")?, registries_of(registries)?);
        let (options, apply) = (options.read()?, apply.read()?);
        let control = running(control)?;
        let (pulled, made) =
            registry::pull_and_unpack(&store, &registries, name, dir, &options, &apply, &control)?;
        out.write(&(&pulled).into());
        if let Some(place) = place {
            place.write(&(&made).into());
        }
        hand_over(report, Report::losses(made.losses));
        Ok(())
    })
}

/// Pushes an image of the store, as `docker push` does. What the registry has, or can take from another of its repositories, is
/// not sent. Opens sockets, as treering_registry_pull() does.
///
/// Errors: TREERING_NOT_FOUND when the image, or a blob that the registry lacks, is not in the store; TREERING_UNAUTHORIZED,
/// TREERING_NETWORK.
///
/// @param registries NULL for those of the environment.
/// @param reference the image, as treering_refs_resolve() finds it.
/// @param target where to; its tag is `latest` when it has none.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_push_result).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registry_push(
    store: *const treering_store,
    registries: *const treering_registries,
    reference: *const c_char,
    target: *const c_char,
    options: *const treering_push_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_push_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, target, options, out, err) = unsafe {
        (
            Text::new(reference),
            Text::new(target),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let store = handle::get(store, "store")?;
        let (reference, target) = (reference.required("reference")?, target.required("target")?);
        let (options, registries) = (options.read()?, registries_of(registries)?);
        let pushed = registry::push(&store, &registries, reference, target, &options, &*running(control)?)?;
        out.write(&treering_push_result {
            digest: (&pushed.digest).into(),
            size: pushed.size,
            sent: pushed.sent,
            bytes_sent: pushed.bytes_sent,
            mounted: pushed.mounted,
            present: pushed.present,
            only_platform: pushed.only_platform.is_some(),
        });
        Ok(())
    })
}

/// Copies an image from one registry to another, or within one: every byte as it is, nothing kept on disk. Blobs that the target
/// has do not travel. Opens sockets, as treering_registry_pull() does.
///
/// Errors: those of treering_registry_pull() and treering_registry_push().
///
/// @param registries NULL for those of the environment.
/// @param source the name to copy.
/// @param target the name it gets; its tag is `latest` when it has none.
/// @param platform only this platform's image out of one for several; NULL for everything that the index lists.
/// @param control may be NULL.
/// @param out_size sizeof(treering_push_result).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registry_copy(
    registries: *const treering_registries,
    source: *const c_char,
    target: *const c_char,
    platform: *const c_char,
    control: *const treering_control,
    out: *mut treering_push_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (source, target, platform, out, err) = unsafe {
        (Text::new(source), Text::new(target), Text::new(platform), Record::new(out, out_size), Out::new(err))
    };
    guard(err, || {
        let out = out.required("out")?;
        let (source, target) = (source.required("source")?, target.required("target")?);
        let options = CopyOptions { platform: platform.parse("platform")?, ..CopyOptions::default() };
        let registries = registries_of(registries)?;
        let copied = registry::copy(&registries, source, target, &options, &*running(control)?)?;
        out.write(&treering_push_result {
            digest: (&copied.digest).into(),
            size: copied.size,
            sent: copied.sent,
            bytes_sent: copied.bytes_sent,
            mounted: copied.mounted,
            present: copied.present,
            only_platform: false,
        });
        Ok(())
    })
}

/// Reads a manifest or an index from its registry, and nothing below it. Opens sockets, as treering_registry_pull() does.
///
/// @param registries NULL for those of the environment.
/// @param control may be NULL.
/// @param digest receives its digest; may be NULL.
/// @param media_type receives its media type; may be NULL.
/// @param out receives its bytes, as the registry has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registry_manifest(
    registries: *const treering_registries,
    name: *const c_char,
    control: *const treering_control,
    digest: *mut treering_digest,
    media_type: *mut *mut treering_bytes,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (name, digest, media_type, out, err) =
        unsafe { (Text::new(name), Out::new(digest), Out::new(media_type), Out::new(out), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let (name, registries) = (name.required("name")?, registries_of(registries)?);
        let found = registry::read_manifest(&registries, name, &Limits::default(), &*running(control)?)?;
        if let Some(place) = digest.place() {
            place.write((&found.digest).into());
        }
        if let Some(place) = media_type.place() {
            place.write(handle::make(bytes::owned(found.media_type.into_bytes())));
        }
        out.write(handle::make(bytes::owned(found.bytes)));
        Ok(())
    })
}

/// Makes a list of images for several platforms (an index) and gives it a name in the store, from where treering_registry_push()
/// takes it. Each image is one of the store, or else one of its registry, of which only manifest and configuration are fetched:
/// opens sockets for that, as treering_registry_pull() does.
///
/// Errors: TREERING_ALREADY_EXISTS when the name stands for an image and `amend` is not set.
///
/// @param registries NULL for those of the environment.
/// @param images the images; of one for several platforms all are taken.
/// @param amend add to the list that has the name, replacing what is for the same platform.
/// @param control may be NULL.
/// @param out receives the digest of the list; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registry_list_create(
    store: *const treering_store,
    registries: *const treering_registries,
    name: *const c_char,
    images: *const *const c_char,
    images_len: usize,
    amend: bool,
    control: *const treering_control,
    out: *mut treering_digest,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (name, images, out, err) =
        unsafe { (Text::new(name), texts(images, images_len, "images"), Out::new(out), Out::new(err)) };
    guard(err, || {
        let (name, images, registries) = (name.required("name")?, images?, registries_of(registries)?);
        let store = handle::get(store, "store")?;
        let made = registry::create_list(&store, &registries, name, &images, amend, &*running(control)?)?;
        if let Some(place) = out.place() {
            place.write((&made).into());
        }
        Ok(())
    })
}

/// Changes what a list in the store says about one of its images.
///
/// @param name the list.
/// @param image the image, as it was named when the list was made, or by its digest.
/// @param platform the platform that the entry is for; NULL to leave it.
/// @param annotations annotations to set on the entry.
/// @param control may be NULL.
/// @param out receives the digest of the list; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_registry_list_annotate(
    store: *const treering_store,
    name: *const c_char,
    image: *const c_char,
    platform: *const c_char,
    annotations: *const treering_pair,
    annotations_len: usize,
    control: *const treering_control,
    out: *mut treering_digest,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (name, image, platform, annotations, out, err) = unsafe {
        (
            Text::new(name),
            Text::new(image),
            Text::new(platform),
            pairs(annotations, annotations_len, "annotations"),
            Out::new(out),
            Out::new(err),
        )
    };
    guard(err, || {
        let (name, image) = (name.required("name")?, image.required("image")?);
        let change = ListAnnotation {
            platform: platform.parse("platform")?,
            annotations: annotations?.into_iter().collect(),
        };
        let store = handle::get(store, "store")?;
        let made = registry::annotate_list(&store, name, image, &change, &*running(control)?)?;
        if let Some(place) = out.place() {
            place.write((&made).into());
        }
        Ok(())
    })
}
