//! Judges values that hold others: lists, and objects inside objects. Errors say the whole way to
//! what is wrong: `to.users[3]`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Fault, Member, MemberError, Seen, Want, fault};

/// Errors of one payload that are told; more would help nobody.
const ERRORS_MAX: usize = 20;

fn way(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn push(errors: &mut Vec<MemberError>, member: Cow<'static, str>, fault: Fault) {
    if errors.len() < ERRORS_MAX {
        errors.push(MemberError { member, fault });
    }
}

/// Judges the members of an object; `prefix` is the way to it, empty for the payload itself.
pub(super) fn members(
    prefix: &str,
    members: &'static [Member],
    strict: bool,
    object: &Map<String, Value>,
    errors: &mut Vec<MemberError>,
) {
    for member in members {
        match object.get(member.name) {
            Some(value) if prefix.is_empty() => {
                judge(&mut || Cow::Borrowed(member.name), member.want, value, errors);
            }
            Some(value) => {
                judge(&mut || way(prefix, member.name).into(), member.want, value, errors);
            }
            None if member.required => {
                push(errors, way(prefix, member.name).into(), Fault::Missing)
            }
            None => {}
        }
    }
    if strict {
        let is_known = |name: &&String| members.iter().any(|member| member.name == **name);
        for name in object.keys().filter(|name| !is_known(name)) {
            let shown: String = name.chars().take(64).collect();
            push(errors, way(prefix, &shown).into(), Fault::Unknown);
        }
    }
}

fn judge(
    path: &mut dyn FnMut() -> Cow<'static, str>,
    want: Want,
    value: &Value,
    errors: &mut Vec<MemberError>,
) {
    match (want, value) {
        (Want::List, Value::Array(_)) | (Want::Object, Value::Object(_)) => {}
        (Want::Each(_, max), Value::Array(list)) if list.len() > max => {
            push(errors, path(), Fault::TooMany(max));
        }
        (Want::Each(want, _), Value::Array(list)) => {
            for (at, value) in list.iter().enumerate() {
                judge(&mut || format!("{}[{at}]", path()).into(), *want, value, errors);
            }
        }
        (Want::Shape(shape), Value::Object(object)) => {
            members(&path(), shape, true, object, errors);
        }
        _ => {
            if let Some(fault) = fault(want, &seen(value)) {
                push(errors, path(), fault);
            }
        }
    }
}

fn seen(value: &Value) -> Seen<'_> {
    match value {
        Value::String(text) => Seen::Text(Cow::Borrowed(text)),
        Value::Number(number) => Seen::Number(number.as_f64().unwrap_or(f64::NAN)),
        Value::Bool(_) => Seen::Flag,
        Value::Null | Value::Array(_) | Value::Object(_) => Seen::Other,
    }
}

/// Judges a deep member whose text was judged as JSON before.
pub(super) fn raw(member: &Member, raw: &str, errors: &mut Vec<MemberError>) {
    let value = serde_json::from_str(raw).unwrap_or(Value::Null);
    judge(&mut || Cow::Borrowed(member.name), member.want, &value, errors);
}
