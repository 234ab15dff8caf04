//! Man pages and completions are what the command line says: rendered from its one definition,
//! committed, compared here, and rewritten with `UPDATE=1`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap_complete::Shell;

/// Commands that take names of pods.
const TAKES_PODS: [&str; 6] = ["rm", "logs", "exec", "wait", "top", "port-forward"];

/// Every generated file, by its path in the project.
fn rendered() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut command = podrun::cli::command();
    command.build();
    render_man(&command, &mut files);
    for (shell, name) in [
        (Shell::Bash, "podrun.bash"),
        (Shell::Fish, "podrun.fish"),
        (Shell::Zsh, "_podrun"),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut podrun::cli::command(), "podrun", &mut script);
        let script = with_pods(shell, String::from_utf8(script).unwrap());
        files.insert(Path::new("completions").join(name), script.into_bytes());
    }
    files
}

/// A page for the command and one for each of its subcommands.
fn render_man(command: &clap::Command, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page).unwrap();
    files.insert(Path::new("man").join(man.get_filename()), page);
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        render_man(sub, files);
    }
}

/// Names of pods are asked of podrun when they are needed.
fn with_pods(shell: Shell, script: String) -> String {
    let commands = TAKES_PODS.join("|");
    match shell {
        Shell::Bash => {
            let wrapped = script.replace("-F _podrun ", "-F _podrun_with_pods ");
            assert_ne!(wrapped, script, "the script registers no function");
            let function = format!(
                "_podrun_with_pods() {{\n    _podrun \"$@\"\n    case \"${{COMP_WORDS[1]}}\" in\n        {commands})\n            local names\n            names=$(podrun ps -o name 2>/dev/null | sed 's,^pod/,,')\n            mapfile -t -O \"${{#COMPREPLY[@]}}\" COMPREPLY < <(compgen -W \"$names\" -- \"${{COMP_WORDS[COMP_CWORD]}}\")\n            ;;\n    esac\n}}\n\n"
            );
            let at = wrapped.rfind("if [[ \"${BASH_VERSINFO[0]}\"").unwrap();
            format!("{}{function}{}", &wrapped[..at], &wrapped[at..])
        }
        Shell::Fish => {
            let commands = TAKES_PODS.join(" ");
            format!(
                "{script}complete -c podrun -n \"__fish_seen_subcommand_from {commands}\" -f -a \"(podrun ps -o name 2>/dev/null | string replace 'pod/' '')\"\n"
            )
        }
        Shell::Zsh => {
            let function = "_podrun_pods() {\n    local -a names\n    names=(${(f)\"$(podrun ps -o name 2>/dev/null | sed 's,^pod/,,')\"})\n    compadd -a names\n}\n\n";
            let lines: Vec<String> = script
                .lines()
                .map(|line| {
                    let is_pod = line.contains("':pod") || line.contains("'*::names");
                    if is_pod {
                        line.replace(":_default", ":_podrun_pods")
                    } else {
                        line.to_owned()
                    }
                })
                .collect();
            let script = lines.join("\n") + "\n";
            let at = script.find("_podrun() {").unwrap();
            format!("{}{function}{}", &script[..at], &script[at..])
        }
        _ => script,
    }
}

#[test]
fn man_pages_and_completions_are_those_of_the_command_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rendered = rendered();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        for (path, content) in &rendered {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), content).unwrap();
        }
    }
    for (path, content) in &rendered {
        let committed = fs::read(root.join(path)).unwrap_or_default();
        assert!(
            committed == *content,
            "{} is out of date: `UPDATE=1 cargo test --test suite generated` renders it",
            path.display()
        );
    }
    for dir in ["man", "completions"] {
        for entry in fs::read_dir(root.join(dir)).unwrap() {
            let path = Path::new(dir).join(entry.unwrap().file_name());
            assert!(
                rendered.contains_key(&path),
                "{} is left over",
                path.display()
            );
        }
    }
}
