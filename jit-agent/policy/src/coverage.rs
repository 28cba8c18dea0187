//! How interfaces are covered.

use super::words::words;

words! {
    /// How the program is attached to an interface. The best way is the first.
    pub enum Way {
        /// XDP in the driver.
        Native = "native",
        /// A link at the head of what sees packets first after XDP.
        Tcx = "tcx",
        /// A filter of traffic control, which does the same before Linux 6.6.
        Clsact = "clsact",
        /// XDP after the driver, on any interface.
        Generic = "generic",
    }
}

words! {
    /// What the packets of an interface begin with.
    pub enum Layer {
        /// An Ethernet header.
        Ethernet = "ethernet",
        /// The IP header: tun, WireGuard, IPIP, GRE and the like.
        Network = "network",
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
        for layer in Layer::ALL {
            assert_eq!(serde_json::to_value(layer).unwrap(), layer.to_string());
        }
    }
}
