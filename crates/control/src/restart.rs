//! Which settings differ, by the names that the configuration gives them.
//!
//! Settings need a restart, so a reload that touches one is refused as a whole and says which. The
//! types are taken apart field by field: a new setting does not compile until it is named here.

use tidegate_core::settings::{Listener, Settings};

/// The fields that differ, in the order of the configuration. Empty when nothing does.
pub(crate) fn differing(old: &Settings, new: &Settings) -> Vec<String> {
    let Settings {
        listeners,
        admin,
        threads,
        shutdown_timeout,
        access_log,
        state,
    } = old;
    let mut fields = differing_listeners(listeners, &new.listeners);
    let mut add = |differs: bool, field: &str| {
        if differs {
            fields.push(field.to_owned());
        }
    };
    add(*admin != new.admin, "admin.bind");
    add(*threads != new.threads, "threads");
    add(
        *shutdown_timeout != new.shutdown_timeout,
        "shutdown_timeout",
    );
    add(*access_log != new.access_log, "access_log");
    add(state.dir != new.state.dir, "state.dir");
    add(state.keep != new.state.keep, "state.keep");
    fields
}

fn differing_listeners(old: &[Listener], new: &[Listener]) -> Vec<String> {
    let named = |listeners: &[Listener], name: &str| {
        listeners
            .iter()
            .find(|listener| listener.name == name)
            .cloned()
    };
    let kept_or_gone = old.iter().flat_map(|was| match named(new, &was.name) {
        Some(is) => differing_fields(was, &is),
        None => vec![format!("listeners.{} (removed)", was.name)],
    });
    let added = new
        .iter()
        .filter(|is| named(old, &is.name).is_none())
        .map(|is| format!("listeners.{} (added)", is.name));
    kept_or_gone.chain(added).collect()
}

fn differing_fields(old: &Listener, new: &Listener) -> Vec<String> {
    let Listener {
        name,
        bind,
        tls,
        limits,
        trusted,
    } = old;
    let differs = [
        (*bind != new.bind, "bind"),
        (*tls != new.tls, "tls"),
        (*limits != new.limits, "limits"),
        (*trusted != new.trusted, "trusted"),
    ];
    differs
        .iter()
        .filter(|(differs, _)| *differs)
        .map(|(_, field)| format!("listeners.{name}.{field}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_core::settings::{AccessLog, ListenerLimits, State};

    use super::*;

    fn settings() -> Settings {
        let listener = |name: &str| Listener {
            name: name.to_owned(),
            bind: ([127, 0, 0, 1], 0).into(),
            tls: None,
            limits: ListenerLimits::default(),
            trusted: Vec::new(),
        };
        Settings {
            listeners: vec![listener("http"), listener("inner")],
            admin: None,
            threads: 2,
            shutdown_timeout: Duration::from_secs(30),
            access_log: AccessLog::Off,
            state: State::default(),
        }
    }

    fn check(change: impl FnOnce(&mut Settings), expected: &[&str]) {
        let mut changed = settings();
        change(&mut changed);
        assert_eq!(differing(&settings(), &changed), expected);
    }

    #[test]
    fn every_setting_is_named() {
        check(|_| {}, &[]);
        check(
            |s| s.admin = Some(([127, 0, 0, 1], 9).into()),
            &["admin.bind"],
        );
        check(|s| s.threads = 3, &["threads"]);
        check(
            |s| s.shutdown_timeout = Duration::ZERO,
            &["shutdown_timeout"],
        );
        check(|s| s.access_log = AccessLog::Stdout, &["access_log"]);
        check(|s| s.state.keep = 3, &["state.keep"]);
        check(|s| s.state.dir = Some("x".into()), &["state.dir"]);
        check(
            |s| s.listeners[1].bind.set_port(1),
            &["listeners.inner.bind"],
        );
        check(
            |s| s.listeners[0].limits.h2_streams = 1,
            &["listeners.http.limits"],
        );
        check(|s| s.listeners.reverse(), &[]);
        check(
            |s| s.listeners[0].name = "web".to_owned(),
            &["listeners.http (removed)", "listeners.web (added)"],
        );
    }
}
