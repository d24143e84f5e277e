//! The layers of `chassis` import one way, and no files import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The folders of `chassis`, each with those that it may import.
const LAYERS: [(&str, &[&str]); 14] = [
    ("base", &[]),
    ("model", &[]),
    ("storage", &["base", "model"]),
    ("auth", &["base"]),
    ("http", &["base", "auth"]),
    ("bus", &["base", "storage"]),
    ("listing", &["base", "auth", "storage", "http"]),
    ("mailbox", &["base", "storage", "bus", "model"]),
    ("writer", &["base", "storage", "mailbox", "model"]),
    ("workers", &["base", "storage", "bus", "mailbox", "model", "writer"]),
    (
        "service",
        &["base", "auth", "storage", "bus", "http", "mailbox", "model", "workers", "writer"],
    ),
    ("openapi", &["base", "auth", "http", "listing"]),
    ("test_issuer", &["base", "auth"]),
    ("testing", &["base", "auth", "storage", "bus", "model", "writer", "test_issuer"]),
];

/// A module's path within its crate: empty for `lib.rs`.
type Module = Vec<String>;

/// One crate's modules, and what each imports.
struct Crate {
    modules: BTreeMap<Module, Source>,
}

#[derive(Default)]
struct Source {
    /// Paths that it names, without those that it only hands on.
    imports: Vec<Vec<String>>,
    /// Names that it hands on, and where they come from.
    exports: BTreeMap<String, Vec<String>>,
}

impl Crate {
    /// Reads the sources in `folder`.
    fn read(folder: &Path) -> Self {
        let mut modules = BTreeMap::new();
        for file in sources(folder) {
            let module = module_of(file.strip_prefix(folder).unwrap());
            let text = std::fs::read_to_string(&file).unwrap();
            modules.insert(module.clone(), Source::parse(&text, &module));
        }
        Self { modules }
    }

    /// Returns the module in which the item with this path is defined.
    fn resolve(&self, path: &[String]) -> Option<Module> {
        let known = |n: &usize| self.modules.contains_key(&path[..*n]);
        let length = (0..=path.len()).rev().find(known)?;
        let (module, rest) = path.split_at(length);
        let exported = rest.first().and_then(|name| self.modules[module].exports.get(name));
        match exported {
            Some(from) => self.resolve(&[from, &rest[1..]].concat()),
            None => Some(module.to_vec()),
        }
    }

    /// Returns which modules each module imports.
    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let resolved = |(module, source): (_, &Source)| {
            let to = source.imports.iter().filter_map(|path| self.resolve(path));
            (module, to.filter(|to| to != module).collect())
        };
        self.modules.iter().map(resolved).collect()
    }

    /// Returns a circle of modules, if there is one.
    fn circle(&self) -> Option<Vec<Module>> {
        fn visit(
            at: &Module,
            edges: &BTreeMap<&Module, BTreeSet<Module>>,
            way: &mut Vec<Module>,
            done: &mut BTreeSet<Module>,
        ) -> Option<Vec<Module>> {
            if let Some(begin) = way.iter().position(|one| one == at) {
                return Some(way[begin..].to_vec());
            }
            if done.contains(at) {
                return None;
            }
            way.push(at.clone());
            let found = edges[at].iter().find_map(|next| visit(next, edges, way, done));
            way.pop();
            done.insert(at.clone());
            found
        }
        let (edges, mut done) = (self.edges(), BTreeSet::new());
        self.modules.keys().find_map(|module| visit(module, &edges, &mut vec![], &mut done))
    }
}

impl Source {
    /// Finds the `use` items of a file, and the paths in its code. Tests are left out.
    fn parse(text: &str, module: &[String]) -> Self {
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let mut source = Self::default();
        let mut item = String::new();
        for line in code {
            let begins = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];
            if item.is_empty() && !begins.iter().any(|begin| line.trim_start().starts_with(begin)) {
                let inline = inline_paths(line).into_iter();
                source.imports.extend(inline.map(|path| absolute(&path, module)));
                continue;
            }
            item.push_str(line.trim());
            if item.ends_with(';') {
                let (public, tree) = item.split_once("use ").unwrap();
                for (path, name) in flatten(tree.trim_end_matches(';')) {
                    let path = absolute(&path, module);
                    if public.is_empty() {
                        source.imports.push(path);
                    } else {
                        source.exports.insert(name, path);
                    }
                }
                item.clear();
            }
        }
        source
    }
}

/// Returns the paths within a line of code, such as `crate::a::b` and `child::c`.
fn inline_paths(line: &str) -> Vec<String> {
    let ends = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
    let path = |word: &&str| word.contains("::") && !word.starts_with("::");
    line.split(ends).filter(path).map(|word| word.trim_end_matches(':').to_owned()).collect()
}

/// Returns the paths of a tree such as `a::{b, c as d}`, each with the name that it gets.
fn flatten(tree: &str) -> Vec<(String, String)> {
    let tree = tree.trim();
    let Some((before, inner)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, tree));
        let path = path.trim_end_matches("::self").to_owned();
        let name = name.rsplit("::").find(|name| *name != "self").unwrap_or_default().to_owned();
        return vec![(path, name)];
    };
    let inner = inner.strip_suffix('}').expect("a tree of imports ends");
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in inner.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| flatten(&format!("{before}{}", part.trim()))).collect()
}

/// Returns a path from the root of its crate. That of another crate stays, and is found nowhere.
fn absolute(path: &str, module: &[String]) -> Vec<String> {
    let mut names: Vec<String> = path.split("::").map(str::to_owned).collect();
    let mut base = match names[0].as_str() {
        "crate" => return names.split_off(1),
        "self" | "super" => module.to_vec(),
        _ => return [module, &names].concat(), // a child, or another crate
    };
    while names.first().is_some_and(|name| matches!(name.as_str(), "self" | "super")) {
        if names.remove(0) == "super" {
            base.pop();
        }
    }
    [base, names].concat()
}

fn module_of(file: &Path) -> Module {
    let mut names: Vec<String> =
        file.with_extension("").iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs")
            && !path.ends_with("main.rs")
            && !path.ends_with("tests.rs")
        {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn chassis_is_made_of_layers_that_import_one_way() {
    let chassis = Crate::read(&root().join("chassis/src"));
    let allowed = BTreeMap::from(LAYERS);
    for (module, imports) in chassis.edges() {
        let Some(layer) = module.first() else { continue };
        let mine = allowed.get(layer.as_str()).unwrap_or_else(|| panic!("{layer} is no layer"));
        for import in imports.iter().filter_map(|import| import.first()) {
            let legal = import == layer || mine.contains(&import.as_str());
            assert!(legal, "{} may not import {import}", module.join("::"));
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let folders = [root(), root().join("tools")].map(|folder| std::fs::read_dir(folder).unwrap());
    for entry in folders.into_iter().flatten() {
        let folder = entry.unwrap().path().join("src");
        if !folder.join("lib.rs").exists() {
            continue;
        }
        let circle = Crate::read(&folder).circle().unwrap_or_default();
        let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
        assert!(names.is_empty(), "{}: {}", folder.display(), names.join(" -> "));
    }
}

#[test]
fn imports_are_parsed_as_the_compiler_does() {
    let module = vec!["a".to_owned(), "b".to_owned()];
    let text = "use crate::x::{self, y::{Z, W as V}};\nuse super::c::D;\npub use e::F;\n\
                fn f() { crate::g::h(child::i()) }\n#[cfg(test)]\nmod tests { use crate::q; }\n";
    let source = Source::parse(text, &module);
    let imports: Vec<String> = source.imports.iter().map(|path| path.join("::")).collect();
    assert_eq!(imports, ["x", "x::y::Z", "x::y::W", "a::c::D", "g::h", "a::b::child::i"]);
    assert_eq!(source.exports["F"].join("::"), "a::b::e::F");
}
