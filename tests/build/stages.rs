//! Stages at once: independent ones do not wait for each other, and a failure ends all of them.

use super::*;

#[test]
fn independent_stages_run_at_once_and_dependent_ones_in_order() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let text = format!(
        "{SHELL}FROM base AS a\nRUN echo begins; busybox sleep 1; echo x > /a; echo ends\n\
         FROM base AS b\nRUN echo begins; busybox sleep 1; echo y > /b; echo ends\n\
         FROM base\nRUN --mount=from=a,target=/m cat /m/a > /c\nCOPY --from=b /b /\n"
    )
    .replacen("FROM scratch", "FROM scratch AS base", 1)
    .replace(" cat ", " busybox cat ");
    let options = |place: &Place, jobs| BuildOptions {
        helper: Some(env!("CARGO_BIN_EXE_treering").into()),
        source_date_epoch: Some(1_000_000_000),
        jobs,
        ..place.options(&text)
    };
    let said = |events: &[Event]| -> String {
        let output = |event: &Event| match event {
            Event::Output { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        };
        events.iter().map(output).collect()
    };
    let (events, seen) = observed();
    let built = build(&place.store, &options(&place, 2), &Control { events, ..Control::default() }).unwrap();
    let found = place.entries();
    assert!(found.contains(&"f 644 0:0 c".into()) && found.contains(&"f 644 0:0 b".into()), "{found:?}");
    assert_eq!(said(&seen.lock().unwrap()), "begins\nbegins\nends\nends\n");
    // One after the other gives the same image.
    let other = with_shell().unwrap();
    let (events, alone) = observed();
    let one = build(&other.store, &options(&other, 1), &Control { events, ..Control::default() }).unwrap();
    assert_eq!(said(&alone.lock().unwrap()), "begins\nends\nbegins\nends\n");
    assert_eq!(built.image_id, one.image_id);
    // Events of a step come in order, whatever comes between.
    let mut at: BTreeMap<u32, Vec<&'static str>> = BTreeMap::new();
    for event in seen.lock().unwrap().iter() {
        match event {
            Event::Started { step, .. } => at.entry(*step).or_default().push("started"),
            Event::Cached { step } => at.entry(*step).or_default().push("cached"),
            Event::Finished { step, .. } => at.entry(*step).or_default().push("finished"),
            _ => {}
        }
    }
    for (step, seen) in &at {
        let done = matches!(seen[..], ["started", "finished"] | ["started", "cached", "finished"]);
        assert!(done, "step {step}: {seen:?}");
    }
}

#[test]
fn a_step_that_two_stages_have_is_carried_out_once_even_without_a_cache() {
    let place = Place::new();
    let mut text = String::new();
    for i in 0..6 {
        text += &format!("FROM scratch AS s{i}\nCOPY <<E /same\n1\nE\nCOPY <<E /own\n{i}\nE\n");
    }
    text += "FROM scratch\n";
    for i in 0..6 {
        text += &format!("COPY --from=s{i} /own /own{i}\n");
    }
    for no_cache in [false, true] {
        let options = BuildOptions { no_cache, ..place.options(&text) };
        let built = build(&place.store, &options, &Control::default()).unwrap();
        assert_eq!((built.cached, built.carried_out), (5, 13), "no_cache {no_cache}");
    }
}

#[test]
fn a_stage_that_fails_ends_the_others_and_its_error_is_the_result() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let text = "RUN true\nFROM scratch AS b\nCOPY --chmod=755 busybox /bin/sh\nRUN [\"/bin/sh\", \"sleep\", \"60\"]\n\
                FROM scratch AS c\nCOPY --chmod=755 busybox /bin/sh\nRUN exit 7\n\
                FROM scratch\nCOPY --from=b / /\nCOPY --from=c / /\n";
    let began = std::time::Instant::now();
    let options = BuildOptions {
        helper: Some(env!("CARGO_BIN_EXE_treering").into()),
        jobs: 2,
        ..place.options(
            &format!("{SHELL}{text}")
                .replace("[\"/bin/sh\", \"sleep\"", "[\"/bin/sh\", \"-c\", \"sleep 60\", \"sleep\""),
        )
    };
    let control = Control::default();
    let error = build(&place.store, &options, &control).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::CommandFailed, Some(7)), "{error}");
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
    assert!(!control.cancel.is_cancelled(), "the caller's token is the caller's");
    assert_eq!(std::fs::read_dir(place.scratch.join("store/tmp")).unwrap().count(), 0);
}

#[test]
fn many_stages_that_wait_for_each_other_come_to_an_end() {
    let place = Place::new();
    let mut text = String::from("FROM scratch AS s0\nCOPY <<E /0\nE\n");
    for i in 1..100 {
        // Each needs the one before, so that all but one of those that are built at once wait.
        text += &format!("FROM scratch AS s{i}\nCOPY <<E /{i}\nE\nCOPY --from=s{} / /\n", i - 1);
    }
    assert_eq!(place.build(&text).carried_out, 199);
    assert_eq!(place.entries().len(), 100);
    assert_eq!(place.build(&text).carried_out, 0);
}

#[test]
fn kept_trees_take_no_more_than_the_limit() {
    let Some(place) = with_shell().filter(Place::can_run) else { return };
    let trees = || std::fs::read_dir(place.scratch.join("store/cache/trees")).unwrap().count();
    place.run("RUN busybox dd if=/dev/zero of=/large bs=1M count=8\n").unwrap();
    assert!(trees() >= 1);
    // One megabyte is less than the program alone.
    let mut limits = treering::store::Limits::default();
    limits.cache_bytes = 1 << 20;
    let small = Store::open_with(place.scratch.join("store"), limits).unwrap();
    let options = BuildOptions {
        helper: Some(env!("CARGO_BIN_EXE_treering").into()),
        ..place.options(&format!("{SHELL}RUN echo other > /x\n"))
    };
    build(&small, &options, &Control::default()).unwrap();
    assert_eq!(trees(), 0);
    place.run("RUN echo again > /x\n").unwrap();
    assert_eq!(trees(), 1);
}
