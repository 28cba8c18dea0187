//! How interfaces are covered.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// XDP in the driver.
    Native,
    /// A link at the head of what sees packets first after XDP.
    Tcx,
    /// A filter of traffic control, which does the same before Linux 6.6.
    Clsact,
    /// XDP after the driver, on any interface.
    Generic,
}

impl Way {
    /// All ways, the best one first.
    pub const ALL: [Self; 4] = [Self::Native, Self::Tcx, Self::Clsact, Self::Generic];

    /// The word for it, as people and programs read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the packets of an interface begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// An Ethernet header.
    Ethernet,
    /// The IP header: tun, WireGuard, IPIP, GRE and the like.
    Network,
}

impl Layer {
    /// The word for it, as people and programs read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ethernet => "ethernet",
            Self::Network => "network",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_and_layers_have_the_same_word_everywhere() {
        for way in Way::ALL {
            assert_eq!(serde_json::to_value(way).unwrap(), way.to_string());
        }
        for layer in [Layer::Ethernet, Layer::Network] {
            assert_eq!(serde_json::to_value(layer).unwrap(), layer.to_string());
        }
    }
}
