//! Keeps the shape of the repository: who may depend on whom, where drivers live, how files open, and links that lead
//! somewhere. It reads the repository as text with the standard library alone.
//!
//! Each rule is a function from text to faults, so that the tests in `planted` can show that it catches what it forbids.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may depend on whom, by directory under `crates/`. A new arrow is a decision: change it here, and say why in
/// `docs/decisions`.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("adapters", &["core"]),
    ("api", &["core", "adapters"]),
    ("gateway", &["core", "adapters"]),
    ("sim", &["core"]),
    ("load", &[]),
    ("app", &["core", "adapters", "api", "gateway"]),
];

/// Crates that speak to something outside. Only `crates/adapters` may use one.
const DRIVERS: &[&str] = &[
    "aws-config",
    "aws-sdk-sns",
    "lettre",
    "mysql_async",
    "rdkafka",
    "redis",
    "refinery",
    "rusqlite",
    "web-push-native",
];

/// Directories that hold nothing of ours: built, downloaded, or somebody's data.
const NOT_OURS: &[&str] = &[".git", ".state", "data", "node_modules", "target"];

/// Beginnings of paths that exist on one machine only. A document that names one is of use to nobody else.
const MACHINE_PATHS: &[&str] = &["/work/", "/root/", "/tmp/", "/home/"];

#[test]
fn every_arrow_between_crates_is_in_the_table() {
    let renames = workspace_renames(&read("Cargo.toml"));
    let manifests = manifests();
    assert!(
        manifests.len() >= 6,
        "only {} manifests found: is the root right?",
        manifests.len()
    );
    report(
        manifests
            .iter()
            .flat_map(|(name, text)| wrong_arrows(name, &dependencies(text, &renames))),
    );
}

#[test]
fn drivers_are_used_in_adapters_alone() {
    let renames = workspace_renames(&read("Cargo.toml"));
    report(
        manifests()
            .iter()
            .flat_map(|(name, text)| misplaced_drivers(name, &dependencies(text, &renames))),
    );
}

#[test]
fn every_manifest_takes_the_lints_of_the_workspace() {
    report(
        manifests()
            .iter()
            .flat_map(|(name, text)| missing_lints(name, text)),
    );
}

#[test]
fn rust_files_are_named_and_opened_as_the_style_asks() {
    let sources = files(".rs");
    assert!(
        sources.len() >= 6,
        "only {} sources found: is the root right?",
        sources.len()
    );
    report(sources.iter().flat_map(|(path, text)| {
        let mut faults = misnamed_module(path);
        faults.extend(missing_opening(path, text));
        faults.extend(silenced_checks(path, text));
        faults
    }));
}

#[test]
fn documents_name_no_machine_and_their_links_lead_somewhere() {
    let documents = files(".md");
    assert!(
        documents.len() >= 6,
        "only {} documents found: is the root right?",
        documents.len()
    );
    report(documents.iter().flat_map(|(path, text)| {
        let mut faults = machine_paths(path, text);
        faults.extend(broken_links(path, text, |target| {
            root().join(target).exists()
        }));
        faults
    }));
}

// The rules.

/// Dependencies of ours that the table does not allow, and crates the table does not know.
fn wrong_arrows(from: &str, dependencies: &[String]) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else {
        return vec![format!(
            "crates/{from}: not in ARROWS; a new crate needs a new set of dependencies"
        )];
    };
    let wrong = |to: &&str| !allowed.contains(to);
    let ours = dependencies.iter().filter_map(|name| match name.as_str() {
        "boxoffice" => Some("app"),
        other => other.strip_prefix("boxoffice-"),
    });
    ours.filter(wrong)
        .map(|to| format!("crates/{from} must not depend on crates/{to}"))
        .collect()
}

/// Driver crates outside `crates/adapters`.
fn misplaced_drivers(from: &str, dependencies: &[String]) -> Vec<String> {
    if from == "adapters" {
        return Vec::new();
    }
    let drivers = dependencies
        .iter()
        .filter(|name| DRIVERS.contains(&name.as_str()));
    drivers
        .map(|name| {
            format!("crates/{from} uses the driver {name}, which belongs in crates/adapters")
        })
        .collect()
}

/// A manifest that does not take the lints of the workspace escapes all of them.
fn missing_lints(from: &str, manifest: &str) -> Vec<String> {
    let taken = tables(manifest)
        .get("lints")
        .is_some_and(|table| table.contains(&("workspace", "true")));
    if taken {
        Vec::new()
    } else {
        vec![format!("crates/{from}: no `[lints] workspace = true`")]
    }
}

/// `hold/mod.rs` is written `hold.rs`.
fn misnamed_module(path: &str) -> Vec<String> {
    let fault = path.ends_with("/mod.rs");
    if fault {
        vec![format!("{path}: name a module after itself, never mod.rs")]
    } else {
        Vec::new()
    }
}

/// Every source opens with what it is for.
fn missing_opening(path: &str, text: &str) -> Vec<String> {
    let says = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("//!"))
        .is_some_and(|rest| !rest.trim().is_empty());
    if says {
        Vec::new()
    } else {
        vec![format!(
            "{path}:1: open with `//!` and what the file is for"
        )]
    }
}

/// Attributes that switch a test or a lint off in silence.
fn silenced_checks(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in numbered(text) {
        let line = line.trim_start();
        if !line.starts_with("#[") && !line.starts_with("#![") {
            continue;
        }
        let words: Vec<&str> = line
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .collect();
        if words.contains(&"ignore") {
            faults.push(format!(
                "{path}:{number}: a test that does not run proves nothing; make it run or delete it"
            ));
        }
        if words.contains(&"allow") {
            faults.push(format!(
                "{path}:{number}: write #[expect(…, reason = …)] in place of allow"
            ));
        }
    }
    faults
}

/// Paths of one machine in a document.
fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in numbered(text) {
        for machine_path in MACHINE_PATHS {
            // `dev/tmp/` and `example.org/work/` are no machine paths: what stands before decides.
            let starts = line.match_indices(machine_path).any(|(at, _)| {
                line[..at]
                    .chars()
                    .next_back()
                    .is_none_or(|before| !before.is_alphanumeric() && before != '.')
            });
            if starts {
                faults.push(format!(
                    "{path}:{number}: {machine_path} exists on one machine only"
                ));
            }
        }
    }
    faults
}

/// Relative links of a document at `path` that lead nowhere, or out of the repository.
fn broken_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut in_code = false;
    for (number, line) in numbered(text) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in link_targets(line) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if elsewhere || file.is_empty() {
                continue;
            }
            match resolve(path, file) {
                Some(resolved) if exists(&resolved) => (),
                Some(_) => faults.push(format!("{path}:{number}: the link to {target} is broken")),
                None => faults.push(format!(
                    "{path}:{number}: the link to {target} leaves the repository"
                )),
            }
        }
    }
    faults
}

// Reading TOML and markdown, as far as the rules need it.

/// The tables of a manifest: header to its keys and values, comments and quotes taken off. Enough for manifests in the
/// usual form; arrays over several lines come out as keys that nobody asks for.
fn tables(manifest: &str) -> BTreeMap<String, Vec<(&str, &str)>> {
    let mut tables: BTreeMap<String, Vec<(&str, &str)>> = BTreeMap::new();
    let mut header = String::new();
    for line in manifest.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if let Some(rest) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            header = rest.trim_matches(['[', ']']).to_owned();
            tables.entry(header.clone()).or_default();
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let key = key.trim().trim_matches('"');
            tables
                .entry(header.clone())
                .or_default()
                .push((key, value.trim().trim_matches('"')));
        }
    }
    tables
}

/// The packages that a manifest depends on in any of its tables (also for tests, builds, one target), real names.
fn dependencies(manifest: &str, renames: &BTreeMap<String, String>) -> Vec<String> {
    let mut names = Vec::new();
    let real = |key: &str, package: Option<&str>| match package {
        Some(package) => package.to_owned(),
        None => renames.get(key).cloned().unwrap_or_else(|| key.to_owned()),
    };
    for (header, entries) in tables(manifest) {
        let last = header.rsplit('.').next().unwrap_or_default();
        if last.ends_with("dependencies") {
            for (key, value) in entries {
                // `name.workspace = true` and `name = { … }` name the same thing.
                let name = key.split('.').next().unwrap_or_default().trim_matches('"');
                names.push(real(name, package_in(value)));
            }
        } else if header.trim_end_matches(last).ends_with("dependencies.") {
            // A dependency in a table of its own: `[dependencies.name]`.
            let package = entries
                .iter()
                .find(|(key, _)| *key == "package")
                .map(|(_, value)| *value);
            names.push(real(last.trim_matches('"'), package));
        }
    }
    names
}

/// Names in `[workspace.dependencies]` that stand for a package of another name.
fn workspace_renames(root_manifest: &str) -> BTreeMap<String, String> {
    let tables = tables(root_manifest);
    let entries = tables.get("workspace.dependencies").into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some(((*key).to_owned(), package_in(value)?.to_owned())))
        .collect()
}

/// The value of `package = "…"` in an inline table.
fn package_in(value: &str) -> Option<&str> {
    let (_, rest) = value.strip_prefix('{')?.split_once("package")?;
    rest.trim_start().strip_prefix('=')?.split('"').nth(1)
}

/// Where the links of one line of markdown lead: `[text](target)` and `[name]: target`, but nothing inside backticks.
fn link_targets(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let mut targets: Vec<String> = Vec::new();
    for rest in prose.split("](").skip(1) {
        targets.extend(rest.split([')', ' ']).next().map(str::to_owned));
    }
    if let Some((_, target)) = prose
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
    {
        targets.push(target.trim().to_owned());
    }
    targets
}

/// The path of `target`, seen from the document at `path`, from the root of the repository; `None` when it lies outside.
fn resolve(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop(); // The document itself.
    for part in target.split('/') {
        match part {
            "" | "." => (),
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

// Reading the repository.

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("failed to read {path}: {error}"))
}

/// The manifests of the crates, by directory name.
fn manifests() -> Vec<(String, String)> {
    let name = |path: &str| {
        path.strip_prefix("crates/")?
            .strip_suffix("/Cargo.toml")
            .map(str::to_owned)
    };
    files("/Cargo.toml")
        .into_iter()
        .filter_map(|(path, text)| Some((name(&path)?, text)))
        .collect()
}

/// All files of the repository whose path ends with `ending`: path from the root, and text. Sorted.
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(root().join(&directory))
            .unwrap_or_else(|error| panic!("failed to list {directory:?}: {error}"));
        for entry in entries {
            let entry = entry.expect("an entry of a directory that was opened can be read");
            let name = entry
                .file_name()
                .into_string()
                .expect("file names here are UTF-8");
            let path = if directory.is_empty() {
                name.clone()
            } else {
                format!("{directory}/{name}")
            };
            let kind = entry
                .file_type()
                .expect("an entry that was listed has a type");
            if kind.is_dir() && !NOT_OURS.contains(&name.as_str()) {
                directories.push(path);
            } else if kind.is_file() && path.ends_with(ending) {
                let text = read(&path);
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// Fails with every fault at once: one run shows all there is to mend.
fn report(faults: impl Iterator<Item = String>) {
    let mut text = String::new();
    for fault in faults {
        writeln!(text, "  {fault}").expect("writing to a string cannot fail");
    }
    assert!(text.is_empty(), "the repository is not tidy:\n{text}");
}

/// Each rule against a violation planted in text, and against text that is as it should be.
mod planted {
    use super::*;

    fn dependencies_of(manifest: &str) -> Vec<String> {
        dependencies(manifest, &BTreeMap::new())
    }

    #[test]
    fn an_arrow_that_points_outward_is_caught() {
        let outward = dependencies_of(
            "[package]\nname = \"x\"\n[dependencies]\nboxoffice-adapters.workspace = true\n",
        );
        assert_eq!(
            wrong_arrows("core", &outward),
            ["crates/core must not depend on crates/adapters"]
        );
        assert_eq!(wrong_arrows("api", &outward), [""; 0]);
    }

    #[test]
    fn an_arrow_is_caught_in_every_form_a_manifest_knows() {
        for manifest in [
            "[dependencies]\nboxoffice-core = { path = \"../core\" }",
            "[dev-dependencies]\nboxoffice-core = { workspace = true } # only to peep",
            "[build-dependencies]\n\"boxoffice-core\".workspace = true",
            "[dependencies.boxoffice-core]\nworkspace = true",
            "[target.'cfg(unix)'.dependencies]\nboxoffice-core.workspace = true",
            "[target.'cfg(unix)'.dependencies.boxoffice-core]\nworkspace = true",
            "[dependencies]\nrules = { package = \"boxoffice-core\", path = \"../core\" }",
            "[dependencies.rules]\npackage = \"boxoffice-core\"\npath = \"../core\"",
        ] {
            let faults = wrong_arrows("load", &dependencies_of(manifest));
            assert_eq!(
                faults,
                ["crates/load must not depend on crates/core"],
                "{manifest}"
            );
        }
    }

    #[test]
    fn an_arrow_hidden_behind_a_workspace_rename_is_caught() {
        let renames = workspace_renames(
            "[workspace.dependencies]\nrules = { path = \"x\", package = \"boxoffice-core\" }",
        );
        let names = dependencies("[dependencies]\nrules.workspace = true", &renames);
        assert_eq!(wrong_arrows("load", &names).len(), 1);
    }

    #[test]
    fn nobody_depends_on_the_binary_and_no_crate_is_unknown() {
        assert_eq!(
            wrong_arrows("sim", &["boxoffice".to_owned()]),
            ["crates/sim must not depend on crates/app"]
        );
        assert_eq!(wrong_arrows("helpers", &[]).len(), 1);
    }

    #[test]
    fn a_comment_is_no_dependency() {
        let names = dependencies_of(
            "[dependencies]\n# boxoffice-core = \"1\"\nserde = \"1\" # boxoffice-core = 1\n",
        );
        assert_eq!(names, ["serde"]);
    }

    #[test]
    fn a_driver_outside_adapters_is_caught() {
        for driver in DRIVERS {
            let names = dependencies_of(&format!("[dev-dependencies]\n{driver} = \"1\"\n"));
            assert_eq!(misplaced_drivers("api", &names).len(), 1, "{driver}");
            assert_eq!(misplaced_drivers("adapters", &names), [""; 0]);
        }
    }

    #[test]
    fn a_manifest_without_the_lints_is_caught() {
        assert_eq!(missing_lints("core", "[package]\nname = \"x\"\n").len(), 1);
        assert_eq!(
            missing_lints("core", "[lints]\nworkspace = false\n").len(),
            1
        );
        assert_eq!(
            missing_lints("core", "[lints]\nworkspace = true\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_module_named_mod_is_caught() {
        assert_eq!(misnamed_module("crates/core/src/hold/mod.rs").len(), 1);
        assert_eq!(misnamed_module("crates/core/src/hold.rs"), [""; 0]);
    }

    #[test]
    fn a_file_that_says_nothing_about_itself_is_caught() {
        for text in [
            "",
            "use std::fs;\n",
            "// For holds.\n",
            "//!\n",
            "\n//! Late.\n",
        ] {
            assert_eq!(missing_opening("a.rs", text).len(), 1, "{text:?}");
        }
        assert_eq!(missing_opening("a.rs", "//! Holds.\n"), [""; 0]);
    }

    #[test]
    fn a_silenced_test_or_lint_is_caught() {
        for line in [
            "#[ignore]",
            "    #[ignore = \"slow\"]",
            "#[allow(dead_code)]",
            "#![allow(clippy::all)]",
            "#[cfg_attr(debug_assertions, allow(unused))]",
            "#[cfg_attr(not(unix), ignore)]",
        ] {
            assert_eq!(silenced_checks("a.rs", line).len(), 1, "{line}");
        }
        for line in [
            "#[expect(dead_code, reason = \"…\")]",
            "// #[ignore] is banned",
            "#[serde(ignore_case)]",
            "allow(1);",
        ] {
            assert_eq!(silenced_checks("a.rs", line), [""; 0], "{line}");
        }
    }

    #[test]
    fn a_path_of_one_machine_is_caught() {
        for line in ["see /work/x", "`/root/.x`", "/tmp/x", "cd /home/me/code"] {
            assert_eq!(machine_paths("a.md", line).len(), 1, "{line}");
        }
        for line in [
            "dev/tmp/x",
            "https://example.org/work/1",
            "in /var/lib/boxoffice",
            "../root/x",
        ] {
            assert_eq!(machine_paths("a.md", line), [""; 0], "{line}");
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_caught() {
        let exists = |path: &str| path == "docs/operate.md";
        for line in [
            "[a](gone.md)",
            "[a](gone.md#part)",
            "x [ok](operate.md) [a](../docs/gone.md \"title\")",
            "[a]: gone.md",
        ] {
            let faults = broken_links("docs/README.md", line, exists);
            assert_eq!(faults.len(), 1, "{line}: {faults:?}");
        }
        assert_eq!(
            broken_links("docs/a.md", "[a](../../other/x.md)", |_| true).len(),
            1,
            "it leaves the repository"
        );
    }

    #[test]
    fn a_link_that_leads_somewhere_passes() {
        let text = "[a](operate.md#backup) [b](https://example.org/x) [c](#here) [d](mailto:a@example.org)\n\
                    `[e](gone.md)`\n```sh\n[f](gone.md)\n```\n[g]: ../docs/operate.md\n";
        assert_eq!(
            broken_links("docs/README.md", text, |path| path == "docs/operate.md"),
            [""; 0]
        );
    }
}
