//! What the comparison was made with: the peers' lockfiles, and the programs that say it themselves.

use std::collections::BTreeMap;
use std::process::Command;

const NODE_LOCK: &str = include_str!("../../peers/node/package-lock.json");
const CARGO_LOCK: &str = include_str!("../../peers/socketioxide/Cargo.lock");

/// Names and versions. A program that is not there has no line.
#[must_use]
pub fn versions() -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for name in ["socketioxide", "axum", "tokio"] {
        versions.extend(crate_version(CARGO_LOCK, name).map(|found| (name.to_owned(), found)));
    }
    for name in ["socket.io", "ws"] {
        versions.extend(module_version(NODE_LOCK, name).map(|found| (name.to_owned(), found)));
    }
    for (name, program) in [("Node", "node"), ("rustc", "rustc")] {
        versions.extend(said(program).map(|found| (name.to_owned(), found)));
    }
    versions
}

fn crate_version(lock: &str, name: &str) -> Option<String> {
    let lock: toml::Table = toml::from_str(lock).ok()?;
    let packages = lock.get("package")?.as_array()?;
    let package = packages
        .iter()
        .find(|package| package.get("name").and_then(toml::Value::as_str) == Some(name))?;
    Some(package.get("version")?.as_str()?.to_owned())
}

fn module_version(lock: &str, name: &str) -> Option<String> {
    let lock: serde_json::Value = serde_json::from_str(lock).ok()?;
    let module = lock.get("packages")?.get(format!("node_modules/{name}"))?;
    Some(module.get("version")?.as_str()?.to_owned())
}

/// `v20.1.2` or `rustc 1.2.3 (…)` as a version alone.
fn said(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().find(|word| word.contains('.'))?;
    Some(version.trim_start_matches('v').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lockfiles_name_every_peer() {
        let versions = versions();
        for name in ["socketioxide", "axum", "tokio", "socket.io", "ws"] {
            let version = versions.get(name).map(String::as_str).unwrap_or_default();
            assert!(version.split('.').count() == 3, "{name} {version}");
        }
        assert_eq!(crate_version(CARGO_LOCK, "no-such-crate"), None);
    }
}
