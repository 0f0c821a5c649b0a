//! Which addresses a workflow may reach: those of the internet, and of others only what the settings name.
//!
//! A workflow file may come from elsewhere, and behind this machine are things that trust whoever reaches them: services
//! on loopback, the neighbours in its network, the metadata service of a cloud. What is judged is the address that a
//! connection is made to: literal addresses before each request and redirect, names after they were resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::Host;

/// Which addresses may be reached that are not of the internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowPrivate {
    /// None.
    #[default]
    Nowhere,
    /// All of them.
    Everywhere,
    /// Some of them.
    Some {
        /// Addresses and networks.
        networks: Vec<IpNet>,
        /// Names of hosts, wherever they lead.
        hosts: Vec<String>,
    },
}

/// A word that names no address, network or host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no address, network such as 10.0.0.0/8, or name of a host (without a port)")]
pub struct UnknownRule {
    /// The word.
    pub word: String,
}

impl AllowPrivate {
    /// Reads a list of addresses, networks and names of hosts. The word `all` stands for everything.
    ///
    /// ```
    /// use stepwell_providers::http::AllowPrivate;
    /// assert_eq!(AllowPrivate::read(&["all"]), Ok(AllowPrivate::Everywhere));
    /// assert_eq!(AllowPrivate::read::<&str>(&[]), Ok(AllowPrivate::Nowhere));
    /// assert!(AllowPrivate::read(&["10.0.0.0/8", "::1", "inventory.local"]).is_ok());
    /// assert!(AllowPrivate::read(&["localhost:8080"]).is_err());
    /// ```
    pub fn read<T: AsRef<str>>(words: &[T]) -> Result<Self, UnknownRule> {
        let (mut networks, mut hosts) = (Vec::new(), Vec::new());
        let words = words.iter().map(|word| word.as_ref().trim()).filter(|word| !word.is_empty());
        for word in words {
            if word == "all" {
                return Ok(Self::Everywhere);
            }
            match rule(word) {
                Some(Rule::Network(network)) => networks.push(network),
                Some(Rule::Host(host)) => hosts.push(host),
                None => return Err(UnknownRule { word: word.to_owned() }),
            }
        }
        if networks.is_empty() && hosts.is_empty() {
            return Ok(Self::Nowhere);
        }
        Ok(Self::Some { networks, hosts })
    }

    /// Returns whether a connection may be made to that address, whatever name led there.
    pub(super) fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_named = match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            Self::Some { networks, .. } => networks.iter().any(|network| network.contains(&address)),
        };
        is_named || is_public(address)
    }

    /// Returns whether that name of a host may lead anywhere.
    pub(super) fn permits_host(&self, name: &str) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            Self::Some { hosts, .. } => {
                let name = name.trim_end_matches('.');
                hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
            }
        }
    }
}

enum Rule {
    Network(IpNet),
    Host(String),
}

fn rule(word: &str) -> Option<Rule> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(Rule::Network(address.to_canonical().into()));
    }
    if let Ok(network) = word.parse::<IpNet>() {
        return Some(Rule::Network(network.trunc()));
    }
    match Host::parse(word) {
        Ok(Host::Domain(name)) => Some(Rule::Host(name.trim_end_matches('.').to_owned())),
        Ok(Host::Ipv4(address)) => Some(Rule::Network(IpAddr::from(address).into())),
        Ok(Host::Ipv6(address)) => Some(Rule::Network(IpAddr::from(address).to_canonical().into())),
        Err(_) => None,
    }
}

/// Returns whether an address is one of the internet. One that stands for an IPv4 address is what that one is.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

/// Networks of RFC 6890 and its successors that are no part of the internet.
const RESERVED_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 31, 196, 0], 24),
    v4([192, 52, 193, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    // Multicast, reserved, broadcast.
    v4([224, 0, 0, 0], 3),
];

/// The part of IPv6 that is given to networks of the internet, and what of it is not.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
const RESERVED_V6: [Ipv6Net; 3] = [
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

const fn v4(address: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_octets(address), length)
}

const fn v6(address: [u16; 8], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_segments(address), length)
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !RESERVED_V4.iter().any(|network| network.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    GLOBAL_V6.contains(&address) && !RESERVED_V6.iter().any(|network| network.contains(&address))
}

/// Returns the IPv4 address that a gateway makes of it.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Some(mapped);
    }
    let octets = address.octets();
    let inner = if NAT64.contains(&address) {
        [octets[12], octets[13], octets[14], octets[15]]
    } else if SIX_TO_FOUR.contains(&address) {
        [octets[2], octets[3], octets[4], octets[5]]
    } else {
        return None;
    };
    Some(Ipv4Addr::from(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(rule: &AllowPrivate, address: &str) -> bool {
        rule.permits(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_that_are_not_of_the_internet_are_refused_in_every_form() {
        let refused = [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ];
        for address in refused {
            assert!(!permits(&AllowPrivate::Nowhere, address), "{address}");
            assert!(permits(&AllowPrivate::Everywhere, address), "{address}");
        }
    }

    #[test]
    fn addresses_of_the_internet_are_open() {
        let open = [
            "1.1.1.1",
            "172.32.0.1",
            "172.15.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "192.169.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ];
        for address in open {
            assert!(permits(&AllowPrivate::Nowhere, address), "{address}");
        }
    }

    #[test]
    fn what_is_named_is_allowed_and_nothing_beside_it() {
        let some = AllowPrivate::read(&["10.1.2.3/16", "::1", "192.168.7.7", "Inventory.Local."]);
        let some = some.expect("a list of rules");
        for address in ["10.1.255.255", "::1", "192.168.7.7", "::ffff:192.168.7.7", "1.1.1.1"] {
            assert!(permits(&some, address), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.1", "192.168.7.8", "169.254.169.254"] {
            assert!(!permits(&some, address), "{address}");
        }
        assert!(some.permits_host("inventory.local") && some.permits_host("INVENTORY.local."));
        assert!(!some.permits_host("inventory.local.example.com") && !some.permits_host("local"));
    }

    #[test]
    fn a_word_that_means_nothing_is_refused() {
        for word in ["10.0.0.0/40", "localhost:8080", "http://localhost", "a b", "[::1]:80", "10.0.0.0/8/8"] {
            assert_eq!(AllowPrivate::read(&[word]), Err(UnknownRule { word: word.into() }));
        }
        assert_eq!(AllowPrivate::read(&["", " "]), Ok(AllowPrivate::Nowhere));
    }
}
