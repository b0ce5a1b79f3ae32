//! Configurations of several files and of the environment, with the real binary: what is included is
//! watched, what is new is seen, what is half written is refused, what is secret is never shown; and
//! `fmt`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use tempfile::TempDir;
use tidegate_lab::World;

use crate::harness::{Config, Tidegate, ask, files, root, tidegate, until};

async fn world() -> World {
    let builder = World::builder().region("eu-west", Duration::from_millis(1));
    builder.start().await.unwrap()
}

fn route(path: &str) -> String {
    format!("routes:\n  - match: {{ path: {path} }}\n    upstream: shop\n")
}

/// A directory whose configuration includes `policies/*.yaml`; one of these has a route to `/a`.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("policies")).unwrap();
    put(directory.path(), "policies/a.yaml", &route("/a"));
    directory
}

fn put(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

/// The main file: everything but routes.
fn main_file(world: &World) -> String {
    let yaml = Config::of(world).yaml();
    let (rest, _) = yaml.split_once("routes:\n").unwrap();
    format!("include: [policies/*.yaml]\n{rest}")
}

async fn is_served(tidegate: &Tidegate, path: &str, expected: StatusCode) {
    until(&format!("{path} answers {expected}"), || async {
        ask(tidegate.http(), Method::GET, path).await.status == expected
    })
    .await;
}

#[tokio::test]
async fn a_new_file_in_a_directory_of_policies_is_seen() {
    let world = world().await;
    let tidegate = Tidegate::start_in(directory(), &main_file(&world)).await;
    let at = tidegate.directory().to_owned();
    is_served(&tidegate, "/a", StatusCode::OK).await;
    is_served(&tidegate, "/b", StatusCode::NOT_FOUND).await;

    put(&at, "policies/b.yaml", &route("/b"));
    is_served(&tidegate, "/b", StatusCode::OK).await;
    is_served(&tidegate, "/a", StatusCode::OK).await;

    put(&at, "policies/b.yaml", &route("/c"));
    is_served(&tidegate, "/c", StatusCode::OK).await;
    is_served(&tidegate, "/b", StatusCode::NOT_FOUND).await;

    std::fs::remove_file(at.join("policies/b.yaml")).unwrap();
    is_served(&tidegate, "/c", StatusCode::NOT_FOUND).await;
}

/// A file that is refused is not forgotten: it is read again when it is mended where it lies.
#[tokio::test]
async fn a_half_written_policy_is_refused_and_read_again() {
    let world = world().await;
    let tidegate = Tidegate::start_in(directory(), &main_file(&world)).await;
    let at = tidegate.directory().to_owned();
    put(&at, "policies/b.yaml", "routes:\n  - match: { path: /b");
    until("the half is refused", || async {
        tidegate.diagnostics().contains("policies/b.yaml:2:")
    })
    .await;
    is_served(&tidegate, "/a", StatusCode::OK).await;
    put(&at, "policies/b.yaml", &route("/b"));
    is_served(&tidegate, "/b", StatusCode::OK).await;
}

#[tokio::test]
async fn values_of_the_environment_are_used_and_not_shown() {
    let world = world().await;
    let secret = "fra1-secret-name";
    let directory = directory();
    let text = format!(
        "pop: {{ name: \"${{POP_OF_TEST}}\" }}\n{}",
        main_file(&world)
    );
    let path = directory.path().join("tidegate.yaml");
    std::fs::write(&path, text).unwrap();
    let environment = [("POP_OF_TEST", Path::new(secret))];
    let tidegate = Tidegate::start_with(directory, &path, &environment).await;
    is_served(&tidegate, "/a", StatusCode::OK).await;
    let shown = tidegate.admin_get("/plan").await;
    assert!(shown.text().contains("${POP_OF_TEST}"), "{}", shown.text());
    assert!(!shown.text().contains(secret), "{}", shown.text());
    assert!(!tidegate.diagnostics().contains(secret));
}

#[test]
fn check_tells_the_file_of_every_problem() {
    let directory = directory();
    let main = directory.path().join("tidegate.yaml");
    put(
        directory.path(),
        "tidegate.yaml",
        "include: policies/*.yaml\nlistners: []\n",
    );
    put(
        directory.path(),
        "policies/b.yaml",
        "threads: \"${NOT_SET_IN_TESTS}\"\n",
    );
    put(directory.path(), "policies/c.yaml", "threads: 2\n");
    let told = tidegate(["check".as_ref(), main.as_os_str()]);
    assert_eq!(told.code, 1);
    for place in [
        "tidegate.yaml:2:1",
        "policies/b.yaml:1:10",
        "policies/c.yaml:1:1",
    ] {
        assert!(told.stderr.contains(place), "{place}: {}", told.stderr);
    }
    let again = tidegate(["check".as_ref(), main.as_os_str()]);
    assert_eq!(told.stderr, again.stderr);
    let json = tidegate(["check".as_ref(), main.as_os_str(), "--json".as_ref()]).json();
    let files = json["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| &problem["file"]);
    let files: Vec<_> = files
        .filter_map(|file| Some(file.as_str()?.to_owned()))
        .collect();
    assert!(
        files.iter().any(|file| file.ends_with("policies/b.yaml")),
        "{files:?}"
    );
}

#[test]
fn fmt_replaces_files_whole_and_keeps_their_modes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.yaml");
    put(directory.path(), "a.yaml", "a:    [ 1,2 ]   # b\n");
    put(directory.path(), "good.yaml", "a: 1\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = directory.path().join("link.yaml");
    std::os::unix::fs::symlink("a.yaml", &link).unwrap();
    let good = directory.path().join("good.yaml");

    let checked = tidegate([
        "fmt".as_ref(),
        "--check".as_ref(),
        link.as_os_str(),
        good.as_os_str(),
    ]);
    assert_eq!((checked.code, checked.stderr.as_str()), (1, ""));
    assert_eq!(
        checked.stdout,
        format!("{}: not formatted\n", link.display())
    );
    assert!(
        std::fs::read_to_string(&path).unwrap().contains("[ 1,2 ]"),
        "unchanged"
    );

    let formatted = tidegate(["fmt".as_ref(), link.as_os_str(), good.as_os_str()]);
    assert_eq!(formatted.code, 0, "{}", formatted.stderr);
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "a: [1, 2]       # b\n"
    );
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 3, "nothing is left behind");
    let checked = tidegate(["fmt".as_ref(), "--check".as_ref(), path.as_os_str()]);
    assert_eq!((checked.code, checked.stdout.as_str()), (0, ""));
}

#[test]
fn fmt_refuses_what_it_cannot_read() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), "bad.yaml", "a: [1\nb: 2\n");
    let bad = directory.path().join("bad.yaml");
    let refused = tidegate(["fmt".as_ref(), bad.as_os_str()]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("bad.yaml:2:2"),
        "{}",
        refused.stderr
    );
    assert_eq!(std::fs::read_to_string(&bad).unwrap(), "a: [1\nb: 2\n");
    let json = tidegate(["fmt".as_ref(), "--json".as_ref(), bad.as_os_str()]).json();
    assert_eq!(json["files"][0]["verdict"], "refused");
    assert!(json["files"][0]["problems"][0]["line"].is_u64());
    let missing = tidegate(["fmt".as_ref(), directory.path().join("no.yaml").as_os_str()]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("no.yaml"), "{}", missing.stderr);
}

#[test]
fn every_configuration_of_the_repository_is_formatted() {
    let mut paths = files(&root().join("configs"), "yaml");
    paths.extend(files(&root().join("examples"), "yaml"));
    let arguments = ["fmt".into(), "--check".into()].into_iter();
    let checked = tidegate(arguments.chain(paths.iter().map(|path| path.as_os_str().to_owned())));
    assert_eq!((checked.code, checked.stdout.as_str()), (0, ""));
}
