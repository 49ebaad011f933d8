//! Packages of rpm in an image: what its own database lists.

use std::process::Command;

use serde_json::Value;
use support::tools::{need, run};
use treering::build::BuildOptions;
use treering::image::Report;

use super::attestations::attested;
use super::*;

const SPEC: &str = "Summary: says hello\nLicense: GPLv2+ and MIT\nBuildArch: noarch\n%description\nHello.\n%install\n\
                    mkdir -p %{buildroot}/usr/share/hello\nprintf %05000d 0 >%{buildroot}/usr/share/hello/%{name}\n\
                    %files\n/usr/share/hello/%{name}\n";

/// Makes two packages, and a database in `db` of the context that has them installed. Returns what rpm lists there.
fn database(place: &Place) -> Vec<String> {
    let work = place.scratch.dir("rpm");
    let db = place.context.join("db");
    let rpm = |program: &str| {
        let mut command = Command::new(program);
        command.env("HOME", &work).current_dir(&work).arg("--dbpath").arg(&db);
        command
    };
    run(rpm("rpm").arg("--initdb"));
    for (name, more) in [("hello", "Epoch: 2\nVendor: The Example Project\n"), ("plain", "")] {
        let spec = work.join(format!("{name}.spec"));
        std::fs::write(&spec, format!("Name: {name}\nVersion: 1.0~rc1\nRelease: 3\n{more}{SPEC}")).unwrap();
        let place = |name: &str| format!("{name} {}", work.join("top").display());
        let define = ["--define", &place("_topdir"), "--define", &place("_tmppath")].map(String::from);
        run(rpm("rpmbuild").args(define).args(["--quiet", "-bb"]).arg(&spec));
        let made = work.join("top/RPMS/noarch").join(format!("{name}-1.0~rc1-3.noarch.rpm"));
        run(rpm("rpm").args(["-i", "--justdb", "--nodeps", "--ignoreos", "--ignorearch"]).arg(made));
    }
    let format = "%{name} %|epoch?{%{epoch}:}|%{version}-%{release} %{size}\n";
    let mut listed: Vec<String> =
        run(rpm("rpm").args(["-qa", "--qf", format])).lines().map(String::from).collect();
    listed.sort();
    listed
}

#[test]
fn packages_of_rpm_are_those_that_rpm_lists() {
    if !(need("rpm", &["--version"]) && need("rpmbuild", &["--version"])) {
        return;
    }
    let place = Place::new();
    let listed = database(&place);
    assert_eq!(listed, ["hello 2:1.0~rc1-3 5000", "plain 1.0~rc1-3 5000"]);
    let text = "FROM scratch\nCOPY db/rpmdb.sqlite /usr/lib/sysimage/rpm/\n\
                COPY <<E /etc/os-release\nID=fedora\nVERSION_ID=41\nE\n";
    let spdx = attested(&place, &BuildOptions { sbom: true, ..place.options(text) }).2;
    let of = |name: &str| {
        let packages = spdx["packages"].as_array().unwrap();
        packages.iter().find(|one| one["name"] == name).unwrap().clone()
    };
    let hello = of("hello");
    assert_eq!(hello["versionInfo"], "2:1.0~rc1-3");
    let purl = "pkg:rpm/fedora/hello@1.0~rc1-3?arch=noarch&distro=fedora-41&epoch=2";
    assert_eq!(hello["externalRefs"][0]["referenceLocator"], purl);
    assert_eq!(hello["licenseDeclared"], "GPL-2.0-or-later AND MIT");
    assert_eq!(hello["supplier"], "Organization: The Example Project");
    assert_eq!(hello["sourceInfo"], "the database of rpm");
    assert_eq!(of("plain")["supplier"], Value::Null);
    assert!(spdx["files"].is_null() && spdx["comment"].is_null(), "{spdx}");

    let report = Report::of(&place.store, &place.image(), &Control::default()).unwrap();
    let mut reported: Vec<String> =
        report.packages.iter().map(|one| format!("{} {} {}", one.name, one.version, one.bytes)).collect();
    reported.sort();
    assert_eq!(reported, listed);
}

#[test]
fn a_database_that_cannot_be_read_is_named() {
    let place = Place::new();
    place.write("Packages", "no database");
    let text = "FROM scratch\nCOPY Packages /var/lib/rpm/\n";
    let spdx = attested(&place, &BuildOptions { sbom: true, ..place.options(text) }).2;
    assert_eq!(spdx["comment"], "the database var/lib/rpm/Packages could not be read whole");
    assert_eq!(spdx["files"].as_array().unwrap().len(), 1);
}
