//! Kernel packages from Debian's archive, through an apt whose state, sources and keys are apart from this machine's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{KEYRING, series::Series};
use crate::{exec, paths};

/// The addresses of the main archive and of the archive for security updates.
pub(crate) type Mirror = (String, String);

/// The kernel image of a series that an earlier run fetched. Remove the directory to have a newer image fetched.
pub(crate) fn cached(series: &Series) -> Result<Option<PathBuf>> {
    let Ok(entries) = fs::read_dir(directory()?) else {
        return Ok(None);
    };
    let newest = entries
        .flatten()
        .filter_map(|entry| Some((series.number(entry.file_name().to_str()?)?, entry.path().join("vmlinuz"))))
        .filter(|(_, image)| image.exists())
        .max();
    Ok(newest.map(|(_, image)| image))
}

fn directory() -> Result<PathBuf> {
    Ok(paths::cache()?.join("kernels"))
}

/// A private apt for one Debian release.
pub(crate) struct Archive {
    configuration: PathBuf,
}

impl Archive {
    /// Reads the package lists from this machine's mirror, or else from Debian's own.
    pub(crate) fn open(series: &Series) -> Result<Self> {
        let mut failed = Vec::new();
        for mirror in mirrors() {
            println!("kernel {}: reading {}'s package lists from {}", series.name, series.release, mirror.0);
            match Self::update(series.release, &mirror) {
                Ok(archive) => return Ok(archive),
                Err(error) => failed.push(format!("{error:#}")),
            }
        }
        bail!("no mirror has Debian's {}: {}", series.release, failed.join("; "))
    }

    fn update(release: &str, mirror: &Mirror) -> Result<Self> {
        let base = directory()?.join("apt").join(release);
        for part in ["state/lists/partial", "cache/archives/partial", "parts"] {
            let part = base.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
        }
        let write = |name: &str, text: String| {
            let file = base.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        write("status", String::new())?;
        write("sources.list", sources(release, mirror))?;
        write("apt.conf", configuration(&base))?;
        let archive = Self { configuration: base.join("apt.conf") };
        exec::output(archive.command("apt-get").args(["-qq", "-o", "APT::Update::Error-Mode=any", "update"]))?;
        Ok(archive)
    }

    /// An apt program that reads the private configuration after the machine's own, so that the machine's proxy
    /// settings stay.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--config-file").arg(&self.configuration);
        command
    }

    /// Downloads the newest kernel of the series and unpacks its image. The package stays beside the image, for the
    /// modules.
    pub(crate) fn fetch(&self, series: &Series) -> Result<PathBuf> {
        let names = exec::output(self.command("apt-cache").args(["pkgnames", "linux-image-"]))?;
        for (version, package) in series.packages(names.lines()) {
            // apt may know a name only because another package mentions the name.
            if exec::output(self.command("apt-cache").args(["show", package])).is_err() {
                continue;
            }
            let target = directory()?.join(version);
            fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
            println!("kernel {}: downloading {package}", series.name);
            exec::output(self.command("apt-get").args(["-qq", "download", package]).current_dir(&target))?;
            return unpack(&target, version);
        }
        bail!("Debian's {} has no linux-image package of the series {}", series.release, series.name)
    }
}

/// The package in `directory`.
pub(super) fn package(directory: &Path) -> Result<PathBuf> {
    let packages = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    packages
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .max()
        .with_context(|| format!("there is no package in {}: remove the directory", directory.display()))
}

/// Extracts the kernel image from the package in `directory`.
fn unpack(directory: &Path, version: &str) -> Result<PathBuf> {
    let package = package(directory)?;
    let mut reader = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&package).stdout(Stdio::piped()).spawn()?;
    let stream = reader.stdout.take().context("dpkg-deb has no output")?;
    let extracted = exec::run(
        Command::new("tar")
            .args(["--extract", "--strip-components=2", "--directory"])
            .arg(directory)
            .arg(format!("./boot/vmlinuz-{version}"))
            .stdin(stream),
    );
    let read = reader.wait()?;
    extracted.with_context(|| format!("cannot unpack {} ({read})", package.display()))?;
    // The final name comes last, so that an interrupted run leaves nothing that looks complete.
    let image = directory.join("vmlinuz");
    fs::rename(directory.join(format!("vmlinuz-{version}")), &image)
        .with_context(|| format!("{} has no kernel image", package.display()))?;
    Ok(image)
}

fn sources(release: &str, (main, security): &Mirror) -> String {
    let options = format!("[arch=amd64 signed-by={KEYRING}]");
    format!("deb {options} {main} {release} main\ndeb {options} {security} {release}-security main\n")
}

fn configuration(base: &Path) -> String {
    let base = base.display();
    format!(
        "Dir::State \"{base}/state\";\n\
         Dir::State::status \"{base}/status\";\n\
         Dir::Cache \"{base}/cache\";\n\
         Dir::Etc::SourceList \"{base}/sources.list\";\n\
         Dir::Etc::SourceParts \"{base}/parts\";\n\
         Dir::Etc::Preferences \"{base}/none\";\n\
         Dir::Etc::PreferencesParts \"{base}/parts\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Sandbox::User \"\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         #clear DPkg::Post-Invoke;\n"
    )
}

/// The mirrors of this machine if it is a Debian, then Debian's own.
pub(crate) fn mirrors() -> Vec<Mirror> {
    let format = ["indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages"];
    let targets = exec::output(Command::new("apt-get").args(format)).unwrap_or_default();
    let labelled = |wanted: &str| {
        let mut lines = targets.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(_, label)| *label == wanted).map(|(address, _)| address.trim_end_matches('/').to_owned())
    };
    let own = ("http://deb.debian.org/debian".to_owned(), "http://deb.debian.org/debian-security".to_owned());
    let mut mirrors: Vec<_> = labelled("Debian").zip(labelled("Debian-Security")).into_iter().collect();
    if !mirrors.contains(&own) {
        mirrors.push(own);
    }
    mirrors
}
