//! What the bridges tell of themselves: how their links are, and what they count.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::Counters;

/// How a link to something outside is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkState {
    /// Not made yet.
    Connecting,
    /// It works.
    Up,
    /// It is there and does not take anything now.
    Blocked,
    /// It is lost and is being made again.
    Down,
    /// It cannot be made as it is configured, and is not tried again.
    Misconfigured,
}

/// A link to something outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// How it is.
    pub state: LinkState,
    /// Whether the server is ready only while it is up.
    pub required: bool,
    /// Why it is not up; empty if it is. Holds no secret.
    pub why: String,
    /// Since when it is so, milliseconds since the epoch.
    pub since: u64,
}

/// What bridges tell; their thread writes, the admin core reads. No lock is held for longer than
/// a copy takes.
#[derive(Debug, Default)]
pub struct Outside(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    counters: Counters,
    links: BTreeMap<&'static str, Link>,
    certificate: Option<CertificateState>,
}

/// How the certificate of the TLS listeners is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateState {
    /// When it ends, RFC 3339; `None` if it does not say so in a way that is understood.
    pub ends_at: Option<String>,
    /// What an operator should do something about; `None` if nothing.
    pub problem: Option<String>,
}

impl Outside {
    fn told(&self) -> MutexGuard<'_, Told> {
        // Numbers that a panic left are no worse than those before.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts something.
    pub fn count(&self, add: impl FnOnce(&mut Counters)) {
        add(&mut self.told().counters);
    }

    /// Says how a link is.
    pub fn say(&self, name: &'static str, link: Link) {
        self.told().links.insert(name, link);
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.told().counters.clone()
    }

    /// Says how the certificate is.
    pub fn say_certificate(&self, certificate: CertificateState) {
        self.told().certificate = Some(certificate);
    }

    /// How the certificate is, if anything has TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateState> {
        self.told().certificate.clone()
    }

    /// The links by name.
    #[must_use]
    pub fn links(&self) -> BTreeMap<&'static str, Link> {
        self.told().links.clone()
    }

    /// A link that is required and not up.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        let told = self.told();
        let mut links = told.links.iter();
        let missing = links.find(|(_, link)| link.required && link.state != LinkState::Up);
        missing.map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_required_link_that_is_not_up_is_missing() {
        let outside = Outside::default();
        let link = |state, required| Link { state, required, why: String::new(), since: 0 };
        outside.say("a", link(LinkState::Down, false));
        outside.say("b", link(LinkState::Up, true));
        assert_eq!(outside.missing(), None);
        outside.say("b", link(LinkState::Blocked, true));
        assert_eq!(outside.missing(), Some("b"));
        outside.count(|counters| counters.amqp_commands += 2);
        assert_eq!((outside.counters().amqp_commands, outside.links().len()), (2, 2));
    }
}
