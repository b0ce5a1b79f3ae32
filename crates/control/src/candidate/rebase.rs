//! A candidate stands where the serving configuration stands, wherever its file lies: what both name by a
//! relative path is the same file, and a copy in `/tmp` is a candidate as good as any.

use std::path::{Path, PathBuf};

use tidegate_config::Bundle;

/// `bundle` as if its main file were at `main`. Its other files move along as far as they lie below the
/// main one's directory.
pub(super) fn rebased(bundle: &Bundle, main: &Path) -> Bundle {
    let directory = |path: &Path| path.parent().map_or(PathBuf::new(), Path::to_owned);
    let (from, to) = (directory(&bundle.main), directory(main));
    let moved = |path: &Path| match path.strip_prefix(&from) {
        _ if *path == bundle.main => main.to_owned(),
        Ok(below) => to.join(below),
        Err(_) => path.to_owned(),
    };
    bundle.clone().moved(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_move_with_the_main_one() {
        let check = |main: &str, files: &[&str], expected: &[&str]| {
            let others = files.iter().filter(|path| **path != main);
            let bundle = others.fold(Bundle::of(main, ""), |all, path| all.with(path, ""));
            let moved = rebased(&bundle, Path::new("/etc/tidegate/edge.yaml"));
            assert_eq!(moved.main, Path::new("/etc/tidegate/edge.yaml"));
            let found: Vec<_> = moved.files.iter().map(|(path, _)| path.clone()).collect();
            let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(found, expected, "{main}");
        };
        check(
            "/tmp/a/new.yaml",
            &["/tmp/a/new.yaml", "/tmp/a/routes/b.yaml", "/srv/c.yaml"],
            &[
                "/etc/tidegate/edge.yaml",
                "/etc/tidegate/routes/b.yaml",
                "/srv/c.yaml",
            ],
        );
        check(
            "new.yaml",
            &["new.yaml", "routes/b.yaml"],
            &["/etc/tidegate/edge.yaml", "/etc/tidegate/routes/b.yaml"],
        );
    }
}
