//! Source prefixes as people write them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, de::Error as _};

/// A source that can't be granted, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The text is neither an address nor a prefix.
    #[error("`{0}` is not an IPv4 or IPv6 address or prefix; write one like 192.0.2.7 or 2001:db8::/64")]
    Syntax(String),
    /// The prefix has bits set beyond its length.
    #[error("{given} has bits set beyond its prefix length; write {network} for the network or {host} for the host")]
    HostBits {
        /// The prefix as given.
        given: IpNet,
        /// The network in which the given prefix lies.
        network: IpNet,
        /// The single address that was given.
        host: IpAddr,
    },
    /// The source is link-local. Such sources can't be told apart, because the zone is not in the packet.
    #[error("{0} is link-local, which does not name one host; use an address that is valid beyond the link")]
    LinkLocal(IpNet),
    /// The address is IPv4-mapped IPv6.
    #[error("{0} is an IPv4-mapped address; write it as IPv4")]
    Mapped(IpNet),
}

/// Reads an address or a prefix.
///
/// # Errors
/// The text is not an address or prefix, has host bits set, or is link-local or IPv4-mapped.
pub fn parse_source(text: &str) -> Result<IpNet, SourceError> {
    let given = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().map_err(|_| SourceError::Syntax(text.to_owned()))?,
    };
    let network = given.trunc();
    if network != given {
        return Err(SourceError::HostBits { given, network, host: given.addr() });
    }
    match network {
        IpNet::V4(v4) if v4.prefix_len() >= 16 && v4.addr().is_link_local() => Err(SourceError::LinkLocal(network)),
        IpNet::V6(v6) if v6.prefix_len() >= 10 && v6.addr().is_unicast_link_local() => {
            Err(SourceError::LinkLocal(network))
        }
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some() => {
            Err(SourceError::Mapped(network))
        }
        _ => Ok(network),
    }
}

/// Reads sources as the API has them; a source may be Azure's word for any source. Passes texts that can't be used to
/// `refuse`, with what would be allowed.
pub fn parse_sources(texts: &[String], refuse: &mut dyn FnMut(&str, String)) -> Vec<IpNet> {
    let mut parsed = Vec::with_capacity(texts.len());
    for text in texts {
        if text == "*" {
            parsed.extend(any_source());
            continue;
        }
        match parse_source(text) {
            Ok(source) => parsed.push(source),
            Err(error) => refuse(text, allowed_instead(&error)),
        }
    }
    parsed
}

fn allowed_instead(error: &SourceError) -> String {
    match error {
        SourceError::Syntax(_) => "an IPv4 or IPv6 address or prefix, like 192.0.2.7 or 2001:db8::/64".to_owned(),
        SourceError::HostBits { network, host, .. } => format!("{network} for the network or {host} for the host"),
        SourceError::LinkLocal(_) => "an address that is valid beyond the link".to_owned(),
        SourceError::Mapped(_) => "the same address written as IPv4".to_owned(),
    }
}

/// Reads sources from the file.
///
/// # Errors
/// The value is not a list of texts, or a text fails as in [`parse_source`].
pub fn sources_in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse_source(text).map_err(D::Error::custom)).collect()
}

/// Every IPv4 and every IPv6 address.
#[must_use]
pub fn any_source() -> Vec<IpNet> {
    vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
}

/// The address of a prefix that holds just one address.
#[must_use]
pub fn single_address(source: &IpNet) -> Option<IpAddr> {
    (source.prefix_len() == source.max_prefix_len()).then(|| source.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_prefix_of_one() {
        assert_eq!(parse_source("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(parse_source("2001:db8::7").unwrap().to_string(), "2001:db8::7/128");
    }

    #[test]
    fn host_bits_are_refused_with_both_things_that_may_have_been_meant() {
        assert_eq!(
            parse_source("192.0.2.7/24").unwrap_err().to_string(),
            "192.0.2.7/24 has bits set beyond its prefix length; write 192.0.2.0/24 for the network or 192.0.2.7 for \
             the host"
        );
    }

    #[test]
    fn sources_that_name_no_host_on_the_wire_are_refused() {
        for text in
            ["169.254.1.1", "fe80::1", "fe80::/10", "::ffff:192.0.2.1", "::ffff:0:0/96", "192.0.2.1%eth0", "any", ""]
        {
            assert!(parse_source(text).is_err(), "{text}");
        }
        assert!(parse_source("0.0.0.0/0").is_ok());
        assert!(parse_source("::/0").is_ok());
    }
}
