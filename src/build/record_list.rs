//! Lists of records: many build steps in one manifest.
//!
//! A list saves requests and nothing else. Of runners that write it at the same time one wins, and the records of the others are found
//! one by one, as each has a place of its own.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::cache::Entry;
use super::directory::Written;
use super::travelling::{Travelling, check};
use crate::digest::Digest;
use crate::image::RecordList;
use crate::store::{Descriptor, descriptor_digest};

/// How many records a list has at most, and how many bytes they have.
const MAX_LISTED: usize = 400;
const MAX_LIST: usize = 512 << 10;

/// Returns the records in a text; what is none is left out.
pub(super) fn records_of(text: &str) -> HashMap<Digest, Entry> {
    let list: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let records = list.into_iter().filter_map(|value| serde_json::from_value::<Travelling>(value).ok());
    records
        .filter_map(|found| {
            let key = found.key;
            Some((key, check(found, &key)?))
        })
        .collect()
}

/// Returns the records of a list that can be true, each with a layer that is kept with the list.
pub(super) fn listed(list: &RecordList) -> HashMap<Digest, Entry> {
    let kept: HashSet<Digest> =
        list.layers.iter().filter_map(|layer| descriptor_digest(layer).ok()).collect();
    let mut records = records_of(&list.text);
    records.retain(|_, entry| entry.layer().is_none_or(|layer| kept.contains(&layer.digest)));
    records
}

/// Makes the list that has these records, and after them those of the list before, as long as there is room. `None` where that one has
/// them all.
pub(super) fn merged(written: &[Written], before: Option<&RecordList>) -> Option<RecordList> {
    let texts: Vec<Value> = before.and_then(|list| serde_json::from_str(&list.text).ok()).unwrap_or_default();
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    if !written.is_empty() && written.iter().all(|(_, text, _)| texts.contains(&parse(text))) {
        return None;
    }
    let keys: HashSet<String> = written.iter().map(|(key, _, _)| key.to_string()).collect();
    let layers = before.map(|list| list.layers.as_slice()).unwrap_or_default();
    let older = texts.into_iter().filter_map(|value| {
        let key = value.get("key")?.as_str()?;
        if keys.contains(key) {
            return None;
        }
        let layer = value.get("layer").and_then(|layer| layer.get("digest")).and_then(Value::as_str);
        let is_it = |known: &&Descriptor| layer == Some(known.digest().to_string().as_str());
        let found = layers.iter().find(is_it).cloned();
        // Without its layer in the list, a record is of no use.
        (layer.is_some() == found.is_some()).then(|| (value.to_string(), found))
    });
    let new = written.iter().map(|(_, text, layer)| (text.clone(), layer.clone()));
    let (mut list, mut seen, mut room) = (Vec::new(), HashSet::new(), MAX_LIST);
    let mut kept = Vec::new();
    for (text, layer) in new.chain(older).take(MAX_LISTED) {
        let Some(left) = room.checked_sub(text.len() + 1) else { break };
        room = left;
        list.push(text);
        kept.extend(layer.filter(|layer| seen.insert(layer.digest().to_string())));
    }
    Some(RecordList { text: format!("[{}]", list.join(",")), layers: kept })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::cache::Record;
    use crate::build::travelling::encode;
    use crate::image::StepLayer;
    use crate::store::{BlobInfo, LayerInfo, descriptor};

    fn record(name: &str, with_layer: bool) -> Written {
        let key = Digest::of(name.as_bytes());
        let layer = with_layer.then(|| LayerInfo {
            diff_id: Digest::of(b"tar"),
            digest: Digest::of(format!("layer of {name}").as_bytes()),
            size: 5,
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
            diff_size: None,
        });
        let descriptor = layer.as_ref().map(|info| StepLayer::from(info).descriptor);
        (key, encode(&key, &Entry::Step(Record { layer, created: 7 })).unwrap(), descriptor)
    }

    fn names(list: &RecordList, all: &[&str]) -> Vec<String> {
        let found = listed(list);
        let there = all.iter().filter(|name| found.contains_key(&Digest::of(name.as_bytes())));
        there.map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_list_has_what_was_written_last_and_what_there_is_room_for_of_the_rest() {
        let (a, b, c) = (record("a", true), record("b", false), record("c", true));
        let first = merged(&[a.clone(), b.clone()], None).unwrap();
        assert_eq!((names(&first, &["a", "b", "c"]), first.layers.len()), (vec!["a".into(), "b".into()], 1));
        assert!(
            merged(std::slice::from_ref(&b), Some(&first)).is_none()
                && merged(&[a.clone(), b], Some(&first)).is_none()
        );
        let second = merged(&[c], Some(&first)).unwrap();
        assert_eq!((names(&second, &["a", "b", "c"]).len(), second.layers.len()), (3, 2));
        assert!(
            second.text.find(&Digest::of(b"c").to_string()) < second.text.find(&Digest::of(b"a").to_string())
        );
        // A record that was made again takes the place of the one before.
        let again = (a.0, a.1.replace("\"created\":7", "\"created\":8"), a.2);
        let third = merged(&[again], Some(&second)).unwrap();
        assert_eq!(third.text.matches(&Digest::of(b"a").to_string()).count(), 1);
        assert!(third.text.contains("\"created\":8"));
        // No more than fit.
        let many: Vec<Written> = (0..2 * MAX_LISTED).map(|n| record(&n.to_string(), n % 2 == 0)).collect();
        let full = merged(&many, Some(&third)).unwrap();
        assert!(
            listed(&full).len() == MAX_LISTED
                && full.text.len() <= MAX_LIST
                && full.layers.len() <= MAX_LISTED
        );
        let large = (Digest::of(b"x"), "x".repeat(MAX_LIST), None);
        assert_eq!(merged(&[large], Some(&third)).unwrap().text, "[]");
    }

    #[test]
    fn a_list_that_lies_is_of_no_use() {
        let good = merged(&[record("a", true), record("b", false)], None).unwrap();
        let all = ["a", "b"];
        assert_eq!(names(&good, &all).len(), 2);
        let with = |text: &str| RecordList { text: text.into(), layers: good.layers.clone() };
        for text in ["", "{}", "[", "[1,null,{}]", "[[]]", &good.text[1..]] {
            assert!(listed(&with(text)).is_empty(), "{text}");
            let over = merged(&[record("c", false)], Some(&with(text))).unwrap();
            assert_eq!(names(&over, &["a", "b", "c"]), ["c"], "{text}");
        }
        // Without the layer, whether the list has never had it or it is another.
        for layers in [vec![], vec![descriptor("x", &BlobInfo::of(b"other"))]] {
            let bare = RecordList { text: good.text.clone(), layers };
            assert_eq!(names(&bare, &all), ["b"]);
            assert_eq!(names(&merged(&[record("c", false)], Some(&bare)).unwrap(), &all), ["b"]);
        }
        let path = good.text.replace("\"key\"", "\"path\":\"/etc/passwd\",\"key\"");
        assert!(listed(&with(&path)).is_empty());
    }
}
