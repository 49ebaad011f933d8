//! The content of an image as an SPDX document (version 2.3): the packages that its databases list, or its files where
//! there is none.

use std::collections::HashMap;
use std::io::Read;

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use super::execute::purl;
use super::languages;
use super::licence::Licences;
use super::provenance::{encode, time_of};
use crate::digest::Digest;
use crate::error::{At, Result, escape};
use crate::fs::Kind;
use crate::image::{
    Databases, Image, ImageFiles, Layer, MAX_DATABASE, MAX_PACKAGES, Package, chain_id, contents_of,
    is_database,
};
use crate::progress::Control;
use crate::store::{Reference, Store};
use crate::tree::builder::Builder;

const OP: &str = "list packages";
/// The type of the predicate.
pub(super) const TYPE: &str = "https://spdx.dev/Document";
/// The most files that are listed.
const MAX_FILES: usize = 100_000;
/// The most bytes of `os-release`.
const MAX_RELEASE: u64 = 64 << 10;
/// The most bytes of a copyright file.
const MAX_COPYRIGHT: u64 = 1 << 20;

/// The subject of a document.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    name: String,
    digest: Digest,
    layers: &'a [Layer],
    purl: Option<String>,
    /// When it was made (RFC 3339).
    created: Option<String>,
}

impl<'a> Subject<'a> {
    /// Returns an image, which has its names.
    pub(super) fn image(image: &'a Image, names: &[Reference]) -> Subject<'a> {
        let platform = image.platform().to_string();
        Subject {
            name: names.first().map_or_else(|| image.digest().to_string(), ToString::to_string),
            digest: *image.digest(),
            layers: image.layers(),
            purl: names.first().map(|name| purl(name, Some(&platform))),
            created: time_of(image),
        }
    }

    /// Returns a stage that an image was made with. What says which one it is are its layers.
    pub(super) fn stage(name: String, layers: &'a [Layer], image: &Image) -> Subject<'a> {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let digest = chain_id(&diff_ids).unwrap_or_else(|| Digest::of(b""));
        Subject { name, digest, layers, purl: None, created: time_of(image) }
    }
}

/// Returns the document. It depends on the subject alone.
pub(super) fn document(store: &Store, subject: &Subject<'_>, control: &Control) -> Result<Value> {
    let Subject { name, digest, layers, purl, created } = subject;
    let list = match layers.is_empty() {
        true => Builder::empty().finish(None)?,
        false => contents_of(store, layers, control)?,
    };
    let files = ImageFiles::of(store, layers, list);
    let list = files.list();
    let is_file = |entry: &u32| list.meta(*entry).kind == Kind::File;
    let (packages, torn) = packages_of(&files, control)?;
    let hex = digest.hex();
    let mut described = json!({
        "SPDXID": "SPDXRef-Image", "name": name, "versionInfo": digest.to_string(),
        "downloadLocation": "NOASSERTION", "filesAnalyzed": false, "primaryPackagePurpose": "CONTAINER",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": hex }],
    });
    if let Some(purl) = purl {
        described["externalRefs"] = json!([reference(purl)]);
    }
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image")];
    let mut listed = vec![described];
    let system = System::of(&files, control)?;
    let mut licences = Licences::default();
    let mut texts = copyrights(&files, &packages, control)?;
    for (number, package) in packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{}-{number}", id_of(&package.name));
        let declared = match texts.remove(&number) {
            Some(text) => licences.of_copyright(&text),
            None => licences.read(&package.licence),
        };
        let mut one = json!({
            "SPDXID": id, "name": package.name, "versionInfo": package.version,
            "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
            "licenseDeclared": declared.unwrap_or_else(|| "NOASSERTION".into()),
            "sourceInfo": format!("the database of {}", package.manager),
            "externalRefs": [reference(&system.purl(package))],
        });
        if !package.vendor.is_empty() {
            one["supplier"] = json!(format!("Organization: {}", package.vendor));
        }
        listed.push(one);
        relations.push(relation("SPDXRef-Image", "CONTAINS", &id));
    }
    let mut out = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("{}/spdx/{hex}", env!("CARGO_PKG_REPOSITORY")),
        "creationInfo": {
            "created": created.as_deref().unwrap_or("1970-01-01T00:00:00Z"),
            "creators": [format!("Tool: treering-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": listed,
    });
    let references: Vec<Value> = licences
        .references()
        .map(|(id, text)| json!({ "licenseId": id, "extractedText": text, "name": text }))
        .collect();
    if !references.is_empty() {
        out["hasExtractedLicensingInfos"] = references.into();
    }
    let mut remarks: Vec<String> =
        torn.iter().map(|path| format!("the database {path} could not be read whole")).collect();
    if packages.is_empty() {
        let mut wanted: Vec<u32> = list.walk().filter(is_file).take(MAX_FILES + 1).collect();
        if wanted.len() > MAX_FILES {
            remarks.push(format!("only the first {MAX_FILES} files are listed"));
            wanted.truncate(MAX_FILES);
        }
        let digests = files.digests(&wanted, control)?;
        // A file of more holes than are hashed is left out.
        wanted.retain(|entry| digests.contains_key(entry) || list.meta(*entry).size == 0);
        let mut sums = HashMap::new();
        files.read_each(&wanted, control, &mut |entry, content| {
            let mut hasher = Sha1::new();
            each_part(content, &list.path(entry), control, |part| hasher.update(part))?;
            sums.insert(entry, hex_of(&hasher.finalize()));
            Ok(())
        })?;
        let mut described = Vec::new();
        for (number, entry) in wanted.into_iter().enumerate() {
            let sha256 =
                digests.get(&entry).map_or_else(|| Digest::of(b"").hex().to_string(), |it| hex_of(it));
            let id = format!("SPDXRef-File-{number}");
            described.push(json!({
                "SPDXID": id, "fileName": format!("./{}", escape(&list.path(entry))),
                "checksums": [
                    { "algorithm": "SHA1", "checksumValue": sums.get(&entry) },
                    { "algorithm": "SHA256", "checksumValue": sha256 },
                ],
            }));
            relations.push(relation("SPDXRef-Image", "CONTAINS", &id));
        }
        out["files"] = described.into();
    }
    if !remarks.is_empty() {
        out["comment"] = remarks.join("; ").into();
    }
    out["relationships"] = relations.into();
    Ok(out)
}

/// Lists the packages that databases and lists of languages name, in order of their names, and the databases that could not be read
/// whole.
fn packages_of(files: &ImageFiles, control: &Control) -> Result<(Vec<Package>, Vec<String>)> {
    let list = files.list();
    let is_file = |entry: &u32| list.meta(*entry).kind == Kind::File;
    let is_wanted = |entry: &u32| {
        let path = list.path(*entry);
        is_database(&path) || languages::is_list(&path) && list.meta(*entry).size <= languages::MAX_LIST
    };
    let wanted: Vec<u32> = list.walk().filter(is_file).filter(is_wanted).take(MAX_PACKAGES).collect();
    let mut databases = Databases::default();
    let mut packages = Vec::new();
    files.read_each(&wanted, control, &mut |entry, content| {
        let path = list.path(entry);
        let mut bytes = Vec::new();
        content.take(MAX_DATABASE).read_to_end(&mut bytes).at(OP, &path)?;
        match is_database(&path) {
            true => databases.put(&path, bytes),
            false => packages.extend(languages::parse(&path, &bytes)),
        }
        Ok(())
    })?;
    let torn = databases.torn().map(escape).collect();
    packages.extend(databases.packages(|_| true));
    let key = |package: &Package| {
        let Package { name, version, architecture, manager, .. } = package.clone();
        (name, version, architecture, manager)
    };
    packages.sort_by_cached_key(key);
    packages.dedup_by_key(|package| key(package));
    Ok((packages, torn))
}

/// Reads the copyright files of dpkg's packages, by the number of the package.
fn copyrights(files: &ImageFiles, packages: &[Package], control: &Control) -> Result<HashMap<usize, String>> {
    let mut wanted: HashMap<u32, Vec<usize>> = HashMap::new();
    for (number, package) in packages.iter().enumerate().filter(|(_, package)| package.manager == "dpkg") {
        let Ok(entry) = files.resolve(format!("usr/share/doc/{}/copyright", package.name)) else { continue };
        let meta = files.list().meta(entry);
        if meta.kind == Kind::File && meta.size <= MAX_COPYRIGHT {
            wanted.entry(entry).or_default().push(number);
        }
    }
    let mut entries: Vec<u32> = wanted.keys().copied().collect();
    entries.sort_unstable();
    let mut out = HashMap::new();
    files.read_each(&entries, control, &mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).at(OP, files.list().path(entry))?;
        let text = String::from_utf8_lossy(&bytes);
        out.extend(wanted[&entry].iter().map(|number| (*number, text.to_string())));
        Ok(())
    })?;
    Ok(out)
}

fn each_part(
    content: &mut dyn Read,
    path: &[u8],
    control: &Control,
    mut take: impl FnMut(&[u8]),
) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        control.check(OP)?;
        match content.read(&mut buffer).at(OP, path)? {
            0 => return Ok(()),
            n => take(&buffer[..n]),
        }
    }
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the reference of a package by its URL.
fn reference(purl: &str) -> Value {
    json!({ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl })
}

/// Returns a text with the characters that an id of SPDX may have.
fn id_of(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    text.chars().map(keep).collect()
}

/// The distribution, as os-release(5) says it.
#[derive(Debug, Default, PartialEq)]
struct System {
    id: Option<String>,
    version: Option<String>,
}

impl System {
    fn of(files: &ImageFiles, control: &Control) -> Result<System> {
        for path in ["etc/os-release", "usr/lib/os-release"] {
            let Ok(entry) = files.resolve(path) else { continue };
            let meta = files.list().meta(entry);
            if meta.kind == Kind::File && meta.size <= MAX_RELEASE {
                return Ok(System::parse(&files.read(entry, MAX_RELEASE, control)?));
            }
        }
        Ok(System::default())
    }

    fn parse(bytes: &[u8]) -> System {
        let text = String::from_utf8_lossy(bytes);
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
            let value = value.trim().trim_matches(['"', '\'']);
            Some(value.to_string()).filter(|value| !value.is_empty())
        };
        System { id: field("ID"), version: field("VERSION_ID") }
    }

    /// Returns the URL of a package (purl-spec, types `deb`, `apk`, `rpm`, `pypi` and `npm`).
    fn purl(&self, package: &Package) -> String {
        let (kind, usual) = match package.manager {
            "pip" => {
                // Names are compared so (PEP 503).
                let name = package.name.to_ascii_lowercase().replace(['_', '.'], "-");
                return format!("pkg:pypi/{}@{}", encode(&name), encode(&package.version));
            }
            "npm" => {
                let name: Vec<String> = package.name.split('/').map(encode).collect();
                return format!("pkg:npm/{}@{}", name.join("/"), encode(&package.version));
            }
            "apk" => ("apk", "alpine"),
            "rpm" => ("rpm", "fedora"),
            _ => ("deb", "debian"),
        };
        let id = self.id.as_deref().unwrap_or(usual);
        // Of an rpm, the vendor comes first, which has another name than its system here.
        let vendor = match id {
            "rhel" => "redhat",
            _ if id.starts_with("opensuse") => "opensuse",
            _ => id,
        };
        // The epoch of a version is a field of its own in the URL of an rpm.
        let (epoch, version) = match package.version.split_once(':') {
            Some((epoch, version)) if kind == "rpm" => (Some(epoch), version),
            _ => (None, package.version.as_str()),
        };
        let mut out = format!("pkg:{kind}/{}/{}", encode(vendor), encode(&package.name));
        if !version.is_empty() {
            out.push_str(&format!("@{}", encode(version)));
        }
        let mut fields = Vec::new();
        if !package.architecture.is_empty() {
            fields.push(format!("arch={}", encode(&package.architecture)));
        }
        if let Some(version) = &self.version {
            fields.push(format!("distro={}", encode(&format!("{id}-{version}"))));
        }
        if let Some(epoch) = epoch {
            fields.push(format!("epoch={}", encode(epoch)));
        }
        if !fields.is_empty() {
            out.push_str(&format!("?{}", fields.join("&")));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_the_url_of_their_distribution() {
        let package = |manager, version: &str| Package {
            name: "g++".into(),
            version: version.into(),
            architecture: "amd64".into(),
            bytes: 0,
            manager,
            licence: String::new(),
            vendor: String::new(),
        };
        let debian = System::parse(b"NAME=x\nID=debian\nVERSION_ID=\"12\"\n");
        assert_eq!(
            debian.purl(&package("dpkg", "4:12.2.0-3+b1")),
            "pkg:deb/debian/g%2B%2B@4:12.2.0-3%2Bb1?arch=amd64&distro=debian-12"
        );
        assert_eq!(System::parse(b"").purl(&package("apk", "")), "pkg:apk/alpine/g%2B%2B?arch=amd64");
        let fedora = System::parse(b"ID=fedora\nVERSION_ID=41\n");
        let url = "pkg:rpm/fedora/g%2B%2B@14.2-1.fc41?arch=amd64&distro=fedora-41";
        assert_eq!(fedora.purl(&package("rpm", "14.2-1.fc41")), url);
        assert_eq!(fedora.purl(&package("rpm", "1:14.2-1.fc41")), format!("{url}&epoch=1"));
        let suse = System::parse(b"ID=\"opensuse-leap\"\nVERSION_ID=\"15.6\"\n");
        let url = "pkg:rpm/opensuse/g%2B%2B@7-3.9.1?arch=amd64&distro=opensuse-leap-15.6";
        assert_eq!(suse.purl(&package("rpm", "7-3.9.1")), url);
        let of = |name: &str, manager| {
            System::default().purl(&Package { name: name.into(), manager, ..package("apk", "1.0") })
        };
        assert_eq!(of("zope.Interface", "pip"), "pkg:pypi/zope-interface@1.0");
        assert_eq!(of("@types/node", "npm"), "pkg:npm/%40types/node@1.0");
        assert_eq!(id_of("libc++1_x"), "libc--1-x");
    }
}
