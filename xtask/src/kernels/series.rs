//! Which kernels are booted, and how Debian names their packages.

/// A series of kernels.
pub(crate) struct Series {
    /// The series' name, such as 5.10.
    pub(crate) name: &'static str,
    /// The Debian release that has the series.
    pub(crate) release: &'static str,
    /// The part of a package's version before its number; `suffix` is the part after the number.
    prefix: &'static str,
    suffix: &'static str,
}

/// The oldest kernel that is supported, and the kernels that Debian 12 has.
pub(crate) const ALL: [Series; 3] = [
    Series { name: "5.10", release: "bullseye", prefix: "5.10.0-", suffix: "-amd64" },
    Series { name: "6.1", release: "bookworm", prefix: "6.1.0-", suffix: "-amd64" },
    Series { name: "6.12", release: "bookworm", prefix: "6.12.", suffix: "+deb12-amd64" },
];

impl Series {
    /// The number that orders the series' versions, such as 46 in 5.10.0-46-amd64; `None` if `version` has no such
    /// number.
    ///
    /// Flavours (cloud, rt) and backports have something else in that place, and so are left out.
    pub(crate) fn number(&self, version: &str) -> Option<u32> {
        let number = version.strip_prefix(self.prefix)?.strip_suffix(self.suffix)?;
        if number.starts_with('+') { None } else { number.parse().ok() }
    }

    /// The versions that have a package among `names`, newest first, each with the package's name. A signed package
    /// goes before an unsigned one.
    pub(crate) fn packages<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<(&'a str, &'a str)> {
        let mut found: Vec<_> = names
            .filter_map(|package| {
                let version = package.strip_prefix("linux-image-")?;
                let unsigned = version.strip_suffix("-unsigned");
                let version = unsigned.unwrap_or(version);
                Some((self.number(version)?, unsigned.is_none(), version, package))
            })
            .collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.into_iter().map(|(.., version, package)| (version, package)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_plain_kernel_of_a_series_is_chosen() {
        let names = [
            "linux-image-5.10.0-9-amd64",
            "linux-image-5.10.0-46-amd64-unsigned",
            "linux-image-5.10.0-46-amd64",
            "linux-image-5.10.0-47-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.12.99+deb12-amd64",
            "linux-image-6.12.117+deb12-amd64-unsigned",
            "linux-image-6.12.117+deb12-rt-amd64",
        ];
        let newest = |series: &Series| series.packages(names.into_iter()).first().copied();
        assert_eq!(newest(&ALL[0]), Some(("5.10.0-46-amd64", "linux-image-5.10.0-46-amd64")));
        assert_eq!(newest(&ALL[1]), Some(("6.1.0-56-amd64", "linux-image-6.1.0-56-amd64")));
        assert_eq!(newest(&ALL[2]), Some(("6.12.117+deb12-amd64", "linux-image-6.12.117+deb12-amd64-unsigned")));
    }
}
