//! What a token permits, compiled once.

use crate::config::glob_match;

/// Something that a token can permit in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// To come into it.
    Join,
    /// To say something in it.
    Emit,
    /// To read what was said before.
    History,
    /// To know who is in it.
    Presence,
}

impl Deed {
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "join" => Self::Join,
            "emit" => Self::Emit,
            "history" => Self::History,
            "presence" => Self::Presence,
            _ => return None,
        })
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A pattern of rooms, in the form that is quickest to judge by.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Exact(Box<str>),
    /// One star, at the end.
    Prefix(Box<str>),
    Glob(Box<str>),
}

impl Pattern {
    fn new(text: &str) -> Self {
        match text.find(['*', '?']) {
            None => Self::Exact(text.into()),
            Some(at) if at + 1 == text.len() && text.ends_with('*') => {
                Self::Prefix(text[..at].into())
            }
            Some(_) => Self::Glob(text.into()),
        }
    }

    fn takes(&self, room: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *room,
            Self::Prefix(start) => room.starts_with(&**start),
            Self::Glob(pattern) => glob_match(pattern, room),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cap {
    rooms: Box<[Pattern]>,
    deeds: u8,
}

/// What a token permits. Nothing in any room unless it says so; every namespace unless it names
/// some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    namespaces: Option<Box<[Box<str>]>>,
    caps: Vec<Cap>,
}

impl Grants {
    pub(super) fn new(namespaces: Option<Vec<String>>) -> Self {
        let boxed = |names: Vec<String>| names.into_iter().map(String::into_boxed_str).collect();
        Self { namespaces: namespaces.map(boxed), caps: Vec::new() }
    }

    pub(super) fn add(&mut self, rooms: &[String], deeds: &[Deed]) {
        let deeds = deeds.iter().fold(0, |bits, deed| bits | deed.bit());
        let rooms = rooms.iter().map(|room| Pattern::new(room)).collect();
        self.caps.push(Cap { rooms, deeds });
    }

    /// Whether its bearer may be in a namespace.
    #[must_use]
    pub fn permits_namespace(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|names| names.iter().any(|name| **name == *namespace))
    }

    /// Whether its bearer may do something in a room.
    ///
    /// Cost: one pattern match for each pattern of the token, of which there are at most 256.
    #[must_use]
    pub fn permits(&self, room: &str, deed: Deed) -> bool {
        let may = |cap: &Cap| cap.deeds & deed.bit() != 0;
        self.caps.iter().any(|cap| may(cap) && cap.rooms.iter().any(|one| one.takes(room)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_what_a_glob_takes_whatever_their_form() {
        for pattern in ["order:*", "*", "a*b", "exact", "x?", "?*", "**", "*x", "a?*"] {
            for room in ["order:1", "order:", "order", "exact", "ab", "axxb", "x1", "x", ""] {
                let compiled = Pattern::new(pattern);
                assert_eq!(compiled.takes(room), glob_match(pattern, room), "{pattern} {room}");
            }
        }
    }

    #[test]
    fn each_cap_permits_its_own_deeds() {
        let mut grants = Grants::new(None);
        grants.add(&["order:*".into()], &[Deed::Join, Deed::History]);
        grants.add(&["order:1".into()], &[Deed::Emit]);
        assert!(grants.permits("order:2", Deed::Join) && grants.permits("order:2", Deed::History));
        assert!(!grants.permits("order:2", Deed::Emit) && grants.permits("order:1", Deed::Emit));
        assert!(!grants.permits("order:1", Deed::Presence) && !grants.permits("x", Deed::Join));
        assert!(grants.permits_namespace("/any"));
        assert!(!Grants::new(Some(vec!["/a".into()])).permits_namespace("/"));
        assert!(!Grants::default().permits("order:1", Deed::Join), "nothing said, nothing granted");
    }
}
