//! Query strings.

use std::borrow::Cow;

/// Pairs of one query that are read; the rest is as if it had not been sent.
const PAIRS_MAX: usize = 256;

/// A query (or a form), decoded. Of a repeated key the last value counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads what stands behind the `?`. Everything is some query: what is not percent encoding
    /// stands for itself, and what is not UTF-8 becomes U+FFFD.
    ///
    /// Cost: at most 256 pairs, each compared with those before it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (key, value) in pairs(text) {
            let known = query.pairs.iter_mut().find(|(known, _)| *known == key);
            match known {
                Some((_, old)) => *old = value.into_owned(),
                None => query.pairs.push((key.into_owned(), value.into_owned())),
            }
        }
        query
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Each key once, in the order of their first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// What an engine wants to know of a query.
///
/// Cost: nothing is allocated unless something is encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineQuery<'a> {
    /// `EIO`: the revision of the protocol, as it was sent.
    pub eio: Option<Cow<'a, str>>,
    /// `transport`.
    pub transport: Option<Cow<'a, str>>,
    /// `sid`; an empty one is none.
    pub sid: Option<Cow<'a, str>>,
    /// `b64`, not empty: the client cannot take bytes (revision 3).
    pub b64: bool,
    /// `j`: the index of a script callback (revision 3).
    pub j: Option<Cow<'a, str>>,
}

impl<'a> EngineQuery<'a> {
    /// Reads the same pairs as [`Query::parse`].
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let mut query = Self::default();
        for (key, value) in pairs(text) {
            match &*key {
                "EIO" => query.eio = Some(value),
                "transport" => query.transport = Some(value),
                "sid" => query.sid = Some(value).filter(|sid| !sid.is_empty()),
                "b64" => query.b64 = !value.is_empty(),
                "j" => query.j = Some(value),
                _ => {}
            }
        }
        query
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let parts = text.split('&').filter(|part| !part.is_empty()).take(PAIRS_MAX);
    parts.map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(key), decode(value))
    })
}

/// Decodes one key or value of a query or form: `%xx` is a byte, `+` a blank.
///
/// Rule: URL standard, "application/x-www-form-urlencoded parsing".
#[must_use]
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => *first,
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Cow::Owned(text),
        Err(broken) => Cow::Owned(String::from_utf8_lossy(broken.as_bytes()).into_owned()),
    }
}

const fn nibble(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn read(text: &str) -> Vec<(String, String)> {
        Query::parse(text).pairs
    }

    #[test]
    fn pairs_are_split_decoded_and_the_last_wins() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("&&", &[]),
            ("a", &[("a", "")]),
            ("=", &[("", "")]),
            ("a=b=c", &[("a", "b=c")]),
            ("a=1&b=2&a=3", &[("a", "3"), ("b", "2")]),
            ("a+b=%20%2B+&%61%20b=x", &[("a b", "x")]),
            ("u=%C3%A4%e2%82%ac", &[("u", "ä€")]),
            ("bad=%zz%4&cut=%", &[("bad", "%zz%4"), ("cut", "%")]),
            ("lossy=%ff%C3", &[("lossy", "\u{FFFD}\u{FFFD}")]),
            ("__proto__=x", &[("__proto__", "x")]),
            ("a=%26%3D", &[("a", "&=")]),
        ];
        for (text, want) in table {
            let want: Vec<_> = want.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            assert_eq!(read(text), want, "{text}");
        }
        assert_eq!(Query::parse("a=1&a=2").get("a"), Some("2"));
        assert_eq!(Query::parse("a=1").get("b"), None);
    }

    #[test]
    fn no_more_than_256_pairs_are_read() {
        let text: String = (0..1000).map(|n| format!("&k{n}=v")).collect();
        assert_eq!(read(&text).len(), 256);
        assert_eq!(EngineQuery::parse(&(text + "&sid=late")).sid, None);
    }

    #[test]
    fn an_engine_query_borrows_what_is_not_encoded() {
        let query = EngineQuery::parse("EIO=4&transport=polling&t=abc&sid=x&b64=1&j=0");
        assert!(matches!(query.transport, Some(Cow::Borrowed("polling"))));
        assert!(matches!(query.eio, Some(Cow::Borrowed("4"))));
        assert!(matches!(query.sid, Some(Cow::Borrowed("x"))));
        assert!(matches!(query.j, Some(Cow::Borrowed("0"))));
        assert!(query.b64);
        let query = EngineQuery::parse("%45IO=%34&sid=a&sid=&b64=");
        assert_eq!((query.eio.as_deref(), query.sid, query.b64), (Some("4"), None, false));
    }

    #[test]
    fn both_readers_agree_on_noise() {
        let alphabet = ["EIO", "sid", "=", "&", "%", "4", "+", "%3", "%ff", "ä", "transport"];
        for seed in 0..5_000 {
            let mut rng = Rng::new(seed, 0x0E01);
            let text: String = (0..12).map(|_| alphabet[rng.below(alphabet.len())]).collect();
            let (all, engine) = (Query::parse(&text), EngineQuery::parse(&text));
            assert_eq!(all.get("EIO"), engine.eio.as_deref(), "{text}");
            assert_eq!(all.get("transport"), engine.transport.as_deref(), "{text}");
            let sid = all.get("sid").filter(|sid| !sid.is_empty());
            assert_eq!(sid, engine.sid.as_deref(), "{text}");
        }
    }
}
