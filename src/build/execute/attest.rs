//! Attestations of an image: a manifest beside it, as BuildKit writes them, with in-toto statements as layers.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::Work;
use crate::build::address::Fact;
use crate::build::options::switched;
use crate::build::outline::Reading;
use crate::build::provenance::{self, Material};
use crate::build::sbom::{self, Subject};
use crate::build::state::State;
use crate::digest::Digest;
use crate::dockerfile::PROXY_ARGS;
use crate::error::Result;
use crate::image::{
    Image, Made, ManifestOptions, OCI_CONFIG, OCI_MANIFEST, Platform, new_manifest, put_document,
};
use crate::store::{Descriptor, Reference, descriptor, json_to_bytes};
use crate::threads::lock;

/// An in-toto statement.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// The annotation by which an entry of the index is an attestation.
const TYPE: (&str, &str) = ("vnd.docker.reference.type", "attestation-manifest");
/// The digest of the manifest that it is about.
const ABOUT: &str = "vnd.docker.reference.digest";
/// The type of the predicate of a statement.
const PREDICATE: &str = "in-toto.io/predicate-type";

impl Work<'_> {
    /// Puts what is to be attested of an image into the store: the entry of the index that goes with it, if there is anything.
    pub(super) fn attest(&self, made: &Made, names: &[Reference]) -> Result<Option<Descriptor>> {
        if self.options.provenance.is_none() && !self.options.sbom {
            return Ok(None);
        }
        let image = Image::from_descriptor(self.store, &made.entry, None)?;
        let mut predicates = Vec::new();
        if self.options.sbom {
            let document = |subject: &Subject<'_>| sbom::document(self.store, subject, self.control);
            predicates.push((sbom::TYPE, document(&Subject::image(&image, names))?));
            for (name, state) in self.scanned()? {
                self.cache.fetch(&state.layers)?;
                predicates.push((sbom::TYPE, document(&Subject::stage(name, &state.layers, &image))?));
            }
        }
        if self.options.provenance.is_some() {
            predicates.push((provenance::TYPE, self.provenance(&image)?));
        }
        let subject = subject(&image, names);
        let mut layers = Vec::new();
        for (predicate_type, predicate) in predicates {
            let statement = json_to_bytes(&json!({
                "_type": "https://in-toto.io/Statement/v0.1",
                "predicateType": predicate_type,
                "subject": subject,
                "predicate": predicate,
            }))?;
            let mut layer = descriptor(STATEMENT, &put_document(self.store, &statement)?);
            layer.set_annotations(Some(HashMap::from([(PREDICATE.into(), predicate_type.into())])));
            layers.push(layer);
        }
        // The shape of an image, so that registries which take nothing else take it: statements are no archives.
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest().to_string()).collect();
        let config = json_to_bytes(&json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        }))?;
        let config = descriptor(OCI_CONFIG, &put_document(self.store, &config)?);
        let manifest = new_manifest(&config, &layers, &ManifestOptions::default())?;
        let mut entry = descriptor(OCI_MANIFEST, &put_document(self.store, &manifest)?);
        let about = (ABOUT.to_string(), image.digest().to_string());
        entry.set_annotations(Some(HashMap::from([(TYPE.0.into(), TYPE.1.into()), about])));
        let mut platform = oci_spec::image::Platform::default();
        platform.set_os("unknown".into());
        platform.set_architecture("unknown".into());
        entry.set_platform(Some(platform));
        Ok(Some(entry))
    }

    /// Returns the stages besides the image's own that `BUILDKIT_SBOM_SCAN_STAGE` asks for: the value is true or false, or names of
    /// stages with commas between them. That of an ARG in the stage stands before one before all stages.
    fn scanned(&self) -> Result<Vec<(String, State)>> {
        const NAME: &str = "BUILDKIT_SBOM_SCAN_STAGE";
        let others = self.order.split_last().map_or(&[][..], |(_, others)| others);
        let given = self.given(NAME);
        let mut out = Vec::new();
        for &at in others {
            let state = self.states.wait(at, self.control)?;
            let name = self.file.stages[at].name.clone().unwrap_or_else(|| format!("stage-{at}"));
            let value = state.scope.get(NAME).or_else(|| self.global.get(NAME)).or_else(|| given.clone());
            let listed = |value: &str| value.split(',').any(|one| one.eq_ignore_ascii_case(&name));
            if value.is_some_and(|value| switched(&value).unwrap_or_else(|| listed(&value))) {
                out.push((name, state));
            }
        }
        Ok(out)
    }

    /// Returns how the image was built: what it is made of, and what was asked for. No secret is in it.
    fn provenance(&self, image: &Image) -> Result<Value> {
        let asked = self.options.provenance.clone().unwrap_or_default();
        let mut materials = Vec::new();
        for ((name, platform), digest) in lock(&self.images.opened).iter() {
            if let Ok(name) = Reference::parse(name) {
                let uri = purl(&name, Some(&platform.to_string()));
                materials.push(Material::image(uri, digest));
            }
        }
        let mut facts = lock(&self.addresses).clone();
        facts.extend(self.contexts.facts());
        for Fact { address, algorithm, digest } in &facts {
            materials.push(Material::address(address, algorithm, digest));
        }
        let mut arguments = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        let mut agents = BTreeMap::new();
        if asked.mode == provenance::ProvenanceMode::Max {
            // A proxy's address may hold a password.
            let shown = |name: &&(String, String)| !PROXY_ARGS.contains(&name.0.as_str());
            for (name, value) in self.options.build_args.iter().filter(shown) {
                arguments.insert(format!("build-arg:{name}"), value.clone());
            }
            for (name, value) in &self.options.labels {
                arguments.insert(format!("label:{name}"), value.clone());
            }
            let reading = Reading {
                file: self.file,
                contexts: self.contexts,
                store: self.store,
                options: self.options,
                control: self.control,
                globals: &self.global,
            };
            let taken = reading.taken(&self.order)?;
            secrets.extend(taken.secrets.into_iter().map(|mount| (mount.id, !mount.required)));
            agents.extend(taken.ssh.into_iter().map(|mount| (mount.id, !mount.required)));
        }
        if let Some(target) = &self.options.target {
            arguments.insert("target".into(), target.clone());
        }
        Ok(provenance::document(&provenance::Facts {
            asked: &asked,
            image,
            platform: Platform::host(),
            context: &self.options.context,
            source: self.contexts.fact(),
            dockerfile: &self.contexts.dockerfile_name,
            materials,
            arguments,
            secrets,
            agents,
        }))
    }
}

/// Returns the subjects of the statements: the manifest, under each name of the image.
fn subject(image: &Image, names: &[Reference]) -> Vec<Value> {
    let digest = json!({ "sha256": image.digest().hex() });
    let platform = image.platform().to_string();
    let one = |name: String| json!({ "name": name, "digest": digest });
    match names {
        [] => vec![one("_".into())],
        names => names.iter().map(|name| one(purl(&name.clone().or_latest(), Some(&platform)))).collect(),
    }
}

/// Returns a package URL of an image (purl-spec, type `docker`).
pub(in crate::build) fn purl(name: &Reference, platform: Option<&str>) -> String {
    let mut out = format!("pkg:docker/{}", name.familiar_name());
    let name = if name.digest().is_some() { name.clone() } else { name.clone().or_latest() };
    if let Some(tag) = name.tag() {
        out.push_str(&format!("@{}", provenance::encode(tag)));
    }
    let digest = name.digest().map(Digest::to_string);
    let fields = [("digest", digest.as_deref()), ("platform", platform)];
    let fields =
        fields.iter().filter_map(|(key, value)| Some(format!("{key}={}", provenance::encode((*value)?))));
    let fields: Vec<String> = fields.collect();
    if !fields.is_empty() {
        out.push_str(&format!("?{}", fields.join("&")));
    }
    out
}
