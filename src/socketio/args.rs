//! Arguments of events and acknowledgements as Rust values.
//!
//! Arguments are JSON values in a row, as they stand in a packet between the commas; see
//! [`from_args`] for which Rust shape takes which of them.

use super::scan::{BLANKS, find_special, unicode_escape};
use serde::de::{self, DeserializeOwned, DeserializeSeed, SeqAccess, Visitor};
use serde::ser::Serialize;
use std::borrow::Cow;
use std::fmt;

/// Why arguments are not what a handler reads, or a value cannot be arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgsError {
    /// Fewer arguments than the type has members.
    Missing,
    /// An argument of another type.
    Mismatch,
    /// A value that JSON cannot hold, such as a map with keys that are no strings.
    Unwritable,
}

impl fmt::Display for ArgsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Missing => "an argument is missing",
            Self::Mismatch => "an argument has the wrong type",
            Self::Unwritable => "the value cannot be written as JSON",
        })
    }
}

impl std::error::Error for ArgsError {}

impl de::Error for ArgsError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Mismatch
    }

    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self::Missing
    }
}

/// The arguments one by one; `args` must have been judged before.
#[must_use]
pub const fn split_args(args: &str) -> SplitArgs<'_> {
    SplitArgs { rest: args }
}

/// See [`split_args`].
#[derive(Clone, Debug)]
pub struct SplitArgs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for SplitArgs<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let end = first_comma(self.rest.as_bytes());
        let (arg, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or("");
        Some(arg.trim_matches(BLANKS))
    }
}

/// Where the first value ends: at a comma that stands in no container and no string, or the end.
fn first_comma(bytes: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return at,
            b'"' => {
                at = find_special(bytes, at + 1);
                while matches!(bytes.get(at), Some(special) if *special != b'"') {
                    at = find_special(bytes, (at + 2).min(bytes.len()));
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Reads arguments into a Rust value.
///
/// | `T` | takes |
/// | --- | --- |
/// | a tuple, an array | its first arguments, one a member; further ones are ignored |
/// | `Vec`, a set, `serde_json::Value` | all of them |
/// | `()` | none of them |
/// | `Option` | the first one; `None` if there is none or it is `null` |
/// | anything else | the first one |
///
/// A lone surrogate (`"\ud800"`, legal in JavaScript) is read as U+FFFD; the text itself, which
/// may be relayed, is not touched.
///
/// # Errors
/// [`ArgsError::Missing`] or [`ArgsError::Mismatch`]. Numbers beyond what `T` holds, and nesting
/// beyond 127 levels, are a mismatch.
pub fn from_args<T: DeserializeOwned>(args: &str) -> Result<T, ArgsError> {
    match T::deserialize(Args { rest: split_args(args) }) {
        Err(ArgsError::Mismatch) => match without_lone_surrogates(args) {
            Cow::Owned(mended) => T::deserialize(Args { rest: split_args(&mended) }),
            Cow::Borrowed(_) => Err(ArgsError::Mismatch),
        },
        done => done,
    }
}

/// Writes a value as arguments: the members of a tuple, an array or a `Vec` one by one, `()` as
/// none, anything else as a single one. To send one array, wrap it: `(vec,)`.
///
/// # Errors
/// [`ArgsError::Unwritable`].
pub fn to_args<T: Serialize + ?Sized>(value: &T) -> Result<String, ArgsError> {
    let mut text = serde_json::to_string(value).map_err(|_| ArgsError::Unwritable)?;
    if text.starts_with('[') {
        text.pop();
        text.remove(0);
    } else if text == "null" && size_of_val(value) == 0 {
        // A unit. `None` is written the same way and is an argument.
        text.clear();
    }
    Ok(text)
}

/// Replaces escapes that name half a character by the escape of U+FFFD.
fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = Cow::Borrowed(text);
    let (mut at, mut copied) = (0, 0);
    while let Some(found) = bytes[at..].iter().position(|&byte| byte == b'\\') {
        at += found;
        let (character, length) = match bytes.get(at + 1) {
            Some(b'u') => unicode_escape(bytes, at),
            _ => ('\\', 2),
        };
        if character == char::REPLACEMENT_CHARACTER {
            if copied == 0 {
                out = Cow::Owned(String::with_capacity(text.len()));
            }
            out.to_mut().push_str(&text[copied..at]);
            out.to_mut().push_str("\\ufffd");
            copied = at + length;
        }
        at = (at + length).min(bytes.len());
    }
    if copied > 0 {
        out.to_mut().push_str(&text[copied..]);
    }
    out
}

/// The arguments as serde sees them.
#[derive(Clone)]
struct Args<'a> {
    rest: SplitArgs<'a>,
}

impl<'a> Args<'a> {
    fn first(mut self) -> Result<serde_json::Deserializer<serde_json::de::StrRead<'a>>, ArgsError> {
        let first = self.rest.next().ok_or(ArgsError::Missing)?;
        Ok(serde_json::Deserializer::from_str(first))
    }
}

/// A sequence that gives at most so many arguments.
struct Row<'a> {
    rest: SplitArgs<'a>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Row<'de> {
    type Error = ArgsError;

    fn next_element_seed<S>(&mut self, seed: S) -> Result<Option<S::Value>, ArgsError>
    where
        S: DeserializeSeed<'de>,
    {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let Some(arg) = self.rest.next() else {
            return Ok(None);
        };
        let mut reader = serde_json::Deserializer::from_str(arg);
        seed.deserialize(&mut reader).map(Some).map_err(|_| ArgsError::Mismatch)
    }
}

/// Shapes that read the first argument as `serde_json` would.
macro_rules! first_argument {
    ($($method:ident)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
            self.first()?.$method(visitor).map_err(|_| ArgsError::Mismatch)
        }
    )* };
}

impl<'de> de::Deserializer<'de> for Args<'de> {
    type Error = ArgsError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_seq(Row { rest: self.rest, left: usize::MAX })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple<V>(self, members: usize, visitor: V) -> Result<V::Value, ArgsError>
    where
        V: Visitor<'de>,
    {
        visitor.visit_seq(Row { rest: self.rest, left: members })
    }

    fn deserialize_tuple_struct<V>(
        self,
        _: &'static str,
        members: usize,
        visitor: V,
    ) -> Result<V::Value, ArgsError>
    where
        V: Visitor<'de>,
    {
        self.deserialize_tuple(members, visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V>(self, _: &'static str, visitor: V) -> Result<V::Value, ArgsError>
    where
        V: Visitor<'de>,
    {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        match self.rest.clone().next() {
            None | Some("null") => visitor.visit_none(),
            Some(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ArgsError>
    where
        V: Visitor<'de>,
    {
        // `RawValue` is read through a name that `serde_json` knows.
        if name.starts_with("$serde_json") {
            return self
                .first()?
                .deserialize_newtype_struct(name, visitor)
                .map_err(|_| ArgsError::Mismatch);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgsError>
    where
        V: Visitor<'de>,
    {
        self.first()?.deserialize_struct(name, fields, visitor).map_err(|_| ArgsError::Mismatch)
    }

    fn deserialize_enum<V>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgsError>
    where
        V: Visitor<'de>,
    {
        self.first()?.deserialize_enum(name, variants, visitor).map_err(|_| ArgsError::Mismatch)
    }

    first_argument! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_map
        deserialize_identifier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Deserialize, serde::Serialize)]
    struct Chat {
        room: String,
        text: Option<String>,
    }

    fn chat(room: &str, text: Option<&str>) -> Chat {
        Chat { room: room.into(), text: text.map(Into::into) }
    }

    #[test]
    fn arguments_are_split_at_their_own_commas_only() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("1", &["1"]),
            ("1 , 2", &["1", "2"]),
            (
                r#""a,b",[1,[2,3]],{"k":",","l":{}}"#,
                &[r#""a,b""#, "[1,[2,3]]", r#"{"k":",","l":{}}"#],
            ),
            (r#""\"",",\\",3"#, &[r#""\"""#, r#"",\\""#, "3"]),
            (r#""]","[","\u005d,""#, &[r#""]""#, r#""[""#, r#""\u005d,""#]),
        ];
        for (args, wanted) in table {
            assert_eq!(&split_args(args).collect::<Vec<_>>(), wanted, "{args}");
        }
    }

    #[test]
    fn every_shape_takes_what_it_says() {
        let args = r#"{"room":"a"},2,"x""#;
        assert_eq!(from_args(args), Ok((chat("a", None), 2_u8, "x".to_owned())));
        assert_eq!(from_args(args), Ok((chat("a", None), 2_i64)), "further ones are ignored");
        assert_eq!(from_args(args), Ok(chat("a", None)), "a struct is one argument");
        assert_eq!(from_args(args), Ok(Some(chat("a", None))));
        assert_eq!(from_args(args), Ok(()));
        assert_eq!(from_args("1,2,3"), Ok([1, 2, 3]));
        assert_eq!(from_args("1,2,3"), Ok(vec![1, 2, 3]));
        assert_eq!(from_args("1,[2]"), Ok(json!([1, [2]])));
        assert_eq!(from_args::<String>("\"a\",1"), Ok("a".into()));
        assert_eq!(from_args::<Option<u8>>(""), Ok(None));
        assert_eq!(from_args::<Option<u8>>("null"), Ok(None));
        assert_eq!(from_args::<Vec<Value>>(""), Ok(vec![]));
        assert_eq!(from_args::<BTreeMap<String, u8>>("{\"a\":1}"), Ok([("a".into(), 1)].into()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(from_args::<(u8, u8)>("1"), Err(ArgsError::Missing));
        assert_eq!(from_args::<Chat>(""), Err(ArgsError::Missing));
        assert_eq!(from_args::<(u8,)>("-1"), Err(ArgsError::Mismatch));
        assert_eq!(from_args::<(u8,)>("\"1\""), Err(ArgsError::Mismatch));
        assert_eq!(from_args::<Chat>("[\"a\",null,1]"), Err(ArgsError::Mismatch));
        assert_eq!(from_args::<f64>("1e999"), Err(ArgsError::Mismatch));
    }

    #[test]
    fn lone_surrogates_are_read_as_replacement_characters() {
        let table = [
            (r#""\ud800""#, "\u{FFFD}"),
            (r#""a\udc00\ud83d\ude00\\ud800""#, "a\u{FFFD}\u{1F600}\\ud800"),
            (r#""\ud800\ud83d\ude00\"z""#, "\u{FFFD}\u{1F600}\"z"),
            (r#""\uD800\n\uDFFF""#, "\u{FFFD}\n\u{FFFD}"),
            (r#""\ud800\u0041""#, "\u{FFFD}A"),
        ];
        for (args, wanted) in table {
            assert_eq!(from_args::<String>(args), Ok(wanted.to_owned()), "{args}");
            assert_eq!(from_args::<(String,)>(args), Ok((wanted.to_owned(),)), "{args}");
        }
    }

    #[test]
    fn values_become_arguments() {
        assert_eq!(to_args(&()), Ok(String::new()));
        assert_eq!(to_args(&None::<u8>), Ok("null".into()));
        assert_eq!(to_args(&(1, "é\"", [2, 3])), Ok(r#"1,"é\"",[2,3]"#.into()));
        assert_eq!(to_args(&vec![1, 2]), Ok("1,2".into()));
        assert_eq!(to_args(&Vec::<u8>::new()), Ok(String::new()));
        assert_eq!(to_args(&(Vec::<u8>::new(),)), Ok("[]".into()));
        assert_eq!(to_args("a"), Ok("\"a\"".into()));
        assert_eq!(to_args(&chat("r", None)), Ok(r#"{"room":"r","text":null}"#.into()));
        assert_eq!(to_args(&f64::NAN), Ok("null".into()), "as JSON.stringify does");
        let keys: BTreeMap<(u8, u8), u8> = [((1, 1), 1)].into();
        assert_eq!(to_args(&keys), Err(ArgsError::Unwritable));
    }
}
