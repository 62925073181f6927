//! Finds the simulator's binary, or builds it with cargo into its world's own target directory.
//!
//! Order: the path on the command line, `ENGRAM_SIM_BIN`, a build. The command that is run is printed, so that it
//! can be repeated by hand.
//!
//! Leaves out: running it ([`crate::runner`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::runner::RunError;
use crate::world::World;

/// The name of the environment variable with the path of a built simulator.
pub const VARIABLE: &str = "ENGRAM_SIM_BIN";

/// A build as a command and where its binary will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Environment variables that it needs.
    pub variables: Vec<(&'static str, OsString)>,
    /// Arguments of cargo.
    pub arguments: Vec<&'static str>,
    /// The binary, once built.
    pub binary: PathBuf,
}

impl Build {
    /// How the simulator of `world` is built in the workspace at `root`; `target` replaces the target directory of
    /// turmoil's build (cargo's own default otherwise).
    pub fn of(world: World, root: &Path, target: Option<OsString>) -> Build {
        let package = ["-p", "engram-sim", "--bin", "engram-sim"];
        let name = format!("engram-sim{}", std::env::consts::EXE_SUFFIX);
        match world {
            World::Turmoil => Build {
                variables: Vec::new(),
                arguments: ["build", "--release"].into_iter().chain(package).collect(),
                binary: root.join(target.unwrap_or("target".into())).join("release").join(name),
            },
            World::Madsim => Build {
                variables: vec![
                    ("RUSTFLAGS", "--cfg madsim --cfg tokio_unstable".into()),
                    ("CARGO_TARGET_DIR", "target-madsim".into()),
                ],
                arguments: ["build"].into_iter().chain(package).collect(),
                binary: root.join("target-madsim").join("debug").join(name),
            },
        }
    }

    /// How the simulator of `world` is built with every planted bug in it, none of them active.
    pub fn with_mutants(world: World, root: &Path) -> Build {
        let (flags, target) = match world {
            World::Turmoil => ("--cfg mutants --cfg tokio_unstable", "target-mutants"),
            World::Madsim => ("--cfg mutants --cfg madsim --cfg tokio_unstable", "target-mutants-madsim"),
        };
        Build {
            variables: vec![("RUSTFLAGS", flags.into()), ("CARGO_TARGET_DIR", target.into())],
            arguments: vec!["build", "-p", "engram-sim", "--bin", "engram-sim"],
            binary: root.join(target).join("debug").join(format!("engram-sim{}", std::env::consts::EXE_SUFFIX)),
        }
    }

    /// The command as one would type it.
    pub fn line(&self) -> String {
        let variable = |(name, value): &(&str, OsString)| format!("{name}=\"{}\" ", value.to_string_lossy());
        let variables: String = self.variables.iter().map(variable).collect();
        format!("{variables}cargo {}", self.arguments.join(" "))
    }
}

/// What the simulator is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The code as it is.
    Plain,
    /// The code with planted bugs, one of which a run may choose.
    Mutants,
}

/// The simulator's binary for `world`: `given`, or that of the environment, or a fresh build. `say` hears the
/// command that is run.
pub fn locate(
    world: World,
    purpose: Purpose,
    given: Option<PathBuf>,
    say: impl FnOnce(&str),
) -> Result<PathBuf, RunError> {
    if let Some(path) = given.or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from)) {
        return match path.is_file() {
            true => Ok(path),
            false => {
                Err(RunError(format!("{}: is no file; build the simulator or leave the path out", path.display())))
            }
        };
    }
    build(world, purpose, say)
}

/// Builds the simulator for `world`; `say` hears the command.
pub fn build(world: World, purpose: Purpose, say: impl FnOnce(&str)) -> Result<PathBuf, RunError> {
    let root = root()?;
    let build = match purpose {
        Purpose::Plain => Build::of(world, &root, std::env::var_os("CARGO_TARGET_DIR")),
        Purpose::Mutants => Build::with_mutants(world, &root),
    };
    say(&build.line());
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    // Flags of the build that started this process are not meant for the simulator's.
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").current_dir(&root).args(&build.arguments);
    command.envs(build.variables.iter().map(|(name, value)| (name, value)));
    let status = command.status().map_err(|error| RunError(format!("cargo can't be started: {error}")))?;
    if !status.success() {
        return Err(RunError(format!("the simulator was not built ({status}): {}", build.line())));
    }
    Ok(build.binary)
}

/// A hash of the file's bytes (FNV-1a), as 16 hex digits: equal for equal builds.
pub fn fingerprint(program: &Path) -> Result<String, RunError> {
    let bytes = std::fs::read(program).map_err(|error| RunError(format!("{}: {error}", program.display())))?;
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    Ok(format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold)))
}

/// The workspace: the nearest directory above the present one whose Cargo.toml has a workspace table.
fn root() -> Result<PathBuf, RunError> {
    let here = std::env::current_dir().map_err(|error| RunError(format!("no present directory: {error}")))?;
    let is_root = |directory: &&Path| {
        let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.trim() == "[workspace]")
    };
    let found = here.ancestors().find(is_root).map(Path::to_path_buf);
    found.ok_or(RunError(format!("{}: not inside the workspace; go there or give --sim-bin", here.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_world_is_built_into_its_own_directory() {
        let root = Path::new("/w");
        let turmoil = Build::of(World::Turmoil, root, None);
        assert_eq!(turmoil.line(), "cargo build --release -p engram-sim --bin engram-sim");
        assert_eq!(turmoil.binary, Path::new("/w/target/release/engram-sim"));
        let madsim = Build::of(World::Madsim, root, Some("/elsewhere".into()));
        assert_eq!(
            madsim.line(),
            "RUSTFLAGS=\"--cfg madsim --cfg tokio_unstable\" CARGO_TARGET_DIR=\"target-madsim\" cargo build -p engram-sim \
             --bin engram-sim"
        );
        assert_eq!(madsim.binary, Path::new("/w/target-madsim/debug/engram-sim"));
        let mutants = Build::with_mutants(World::Turmoil, root);
        assert_eq!(
            mutants.line(),
            "RUSTFLAGS=\"--cfg mutants --cfg tokio_unstable\" CARGO_TARGET_DIR=\"target-mutants\" cargo build \
             -p engram-sim --bin engram-sim"
        );
        assert_eq!(mutants.binary, Path::new("/w/target-mutants/debug/engram-sim"));
    }
}
