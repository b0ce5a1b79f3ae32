//! Changes on the disk, in every way in which they are made.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use tidegate_control::{Cause, Watcher};

use crate::support::{Site, config, until};

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

async fn serves(site: &Site, seconds: u64) {
    let what = format!("the plan with {seconds} s serves");
    until(&what, || site.timeout() == Duration::from_secs(seconds)).await;
}

#[tokio::test]
async fn a_file_written_in_place_renamed_over_or_made_anew_is_seen() {
    let site = Site::new(&config("1s"));
    let _watcher = Watcher::start(site.reloader.clone()).unwrap();
    site.write(&config("2s"));
    serves(&site, 2).await;
    replace(&site.path(), &config("3s"));
    serves(&site, 3).await;
    replace(&site.path(), &config("4s"));
    serves(&site, 4).await;
    std::fs::remove_file(site.path()).unwrap();
    until("the removal is refused", || {
        site.events().contains(&"reload_refused".to_owned())
    })
    .await;
    site.write(&config("5s"));
    serves(&site, 5).await;
}

#[tokio::test]
async fn a_bad_file_is_refused_and_the_next_good_one_serves() {
    let site = Site::new(&config("1s"));
    let _watcher = Watcher::start(site.reloader.clone()).unwrap();
    site.write("");
    until("it is refused", || {
        site.events().contains(&"reload_refused".to_owned())
    })
    .await;
    assert_eq!(site.generation(), 1);
    site.write(&config("2s"));
    serves(&site, 2).await;
    assert_eq!(site.generation(), 2);
}

#[tokio::test]
async fn a_turned_link_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (version, timeout) in [("..v1", "1s"), ("..v2", "2s")] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("tidegate.yaml"), config(timeout)).unwrap();
    }
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/tidegate.yaml", at("tidegate.yaml")).unwrap();
    let (turned, data) = (at("..data_tmp"), at("..data"));
    let site = Site::in_dir(dir, "tidegate.yaml", &config("1s"));
    let _watcher = Watcher::start(site.reloader.clone()).unwrap();
    symlink("..v2", &turned).unwrap();
    std::fs::rename(&turned, &data).unwrap();
    serves(&site, 2).await;
}

#[tokio::test]
async fn a_replaced_directory_is_seen_and_watched_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("conf");
    std::fs::create_dir(&inner).unwrap();
    let site = Site::in_dir(dir, "conf/tidegate.yaml", &config("1s"));
    let _watcher = Watcher::start(site.reloader.clone()).unwrap();
    std::fs::rename(&inner, inner.with_extension("old")).unwrap();
    until("the absence is refused", || {
        site.events().contains(&"reload_refused".to_owned())
    })
    .await;
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("tidegate.yaml"), config("2s")).unwrap();
    serves(&site, 2).await;
    std::fs::write(inner.join("tidegate.yaml"), config("3s")).unwrap();
    serves(&site, 3).await;
}

#[tokio::test]
async fn a_change_before_the_watch_began_counts() {
    let site = Site::new(&config("1s"));
    site.write(&config("2s"));
    let _watcher = Watcher::start(site.reloader.clone()).unwrap();
    serves(&site, 2).await;
}

/// Other files of the directory (an access log) cause no reload: the reload that is seen at the
/// end is the only one.
#[tokio::test]
async fn noise_beside_the_file_is_ignored() {
    let site = Site::new(&config("1s"));
    let _watcher = Watcher::start(site.reloader.clone()).unwrap();
    for line in 0..50 {
        std::fs::write(site.dir.path().join("access.log"), format!("{line}")).unwrap();
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    site.write(&config("2s"));
    serves(&site, 2).await;
    until("it is counted", || site.reloads("applied") == 1).await;
    assert_eq!(site.reloads("unchanged"), 0, "no reload without a change");
}

/// A script that writes the file and sends the signal as well causes one reload, not two. The watch
/// looks at the file before it looks at the next change, so the second reload would have come first.
#[tokio::test]
async fn what_was_read_at_a_signal_is_not_read_again() {
    let site = Site::new(&config("1s"));
    let _watcher = Watcher::start(site.reloader.clone()).unwrap();
    site.write(&config("2s"));
    site.reloader.reload(Cause::Signal).await;
    assert_eq!(site.timeout(), Duration::from_secs(2));
    // Longer than the watch waits for silence: else it would see both changes as one.
    tokio::time::sleep(Duration::from_millis(400)).await;
    site.write(&config("3s"));
    serves(&site, 3).await;
    until("both are counted", || site.reloads("applied") == 2).await;
    assert_eq!(site.reloads("unchanged"), 0, "nothing was read twice");
}

#[tokio::test]
async fn dropping_the_watcher_ends_it() {
    let site = Site::new(&config("1s"));
    drop(Watcher::start(site.reloader.clone()).unwrap());
    let reloader = std::sync::Arc::downgrade(&site.reloader);
    let Site {
        dir,
        reloader: held,
        ..
    } = site;
    drop((dir, held));
    until("nothing holds the reloader", || {
        reloader.strong_count() == 0
    })
    .await;
}
