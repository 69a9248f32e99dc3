//! Requests made from the OpenAPI document itself, good ones and broken ones: what is answered
//! must be declared, with its status and its shape.

use serde_json::{Map, Value, json};

use super::fake::World;
use super::{Answer, get, request, send};

/// A document, for looking things up in.
struct Document(Value);

impl Document {
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(at) => self.0.pointer(at.strip_prefix('#').unwrap()).unwrap(),
            None => schema,
        }
    }

    /// What is wrong with a value; members that nobody declared are.
    fn faults(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let schema = self.resolve(schema);
        if let Some(either) = schema.get("oneOf").and_then(Value::as_array) {
            let fits = |one: &Value| {
                let mut found = Vec::new();
                self.faults(one, value, at, &mut found);
                found.is_empty()
            };
            if !either.iter().any(fits) {
                found.push(format!("{at}: none of the alternatives"));
            }
            return;
        }
        let kinds = match &schema["type"] {
            Value::String(kind) => vec![kind.as_str()],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let is = |kind: &&str| match *kind {
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => value.is_u64() || value.is_i64(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            other => panic!("{other}"),
        };
        if !kinds.is_empty() && !kinds.iter().any(is) {
            found.push(format!("{at}: {value} is no {kinds:?}"));
        }
        if let (Value::Object(members), Some(known)) = (value, schema.get("properties")) {
            for (name, value) in members {
                match known.get(name) {
                    Some(schema) => self.faults(schema, value, &format!("{at}.{name}"), found),
                    None => found.push(format!("{at}.{name} is declared nowhere")),
                }
            }
            let required = schema["required"].as_array().into_iter().flatten();
            for name in
                required.filter_map(Value::as_str).filter(|name| !members.contains_key(*name))
            {
                found.push(format!("{at}.{name} is missing"));
            }
        }
        if let (Value::Array(list), Some(items)) = (value, schema.get("items")) {
            list.iter().for_each(|value| self.faults(items, value, &format!("{at}[]"), found));
        }
    }

    /// A value of a schema; with `all`, every member it may have.
    fn good(&self, schema: &Value, all: bool) -> Value {
        let schema = self.resolve(schema);
        if let Some(either) = schema.get("oneOf") {
            return self.good(&either[0], all);
        }
        if let Some(words) = schema.get("enum") {
            return words[0].clone();
        }
        match schema["type"].as_str() {
            Some("string") => json!("/"),
            Some("boolean") => json!(true),
            Some("number" | "integer") => schema
                .get("minimum")
                .cloned()
                .map_or_else(|| json!(1), |min| json!(min.as_f64().unwrap() as u64)),
            Some("array") if all => json!([self.good(&schema["items"], all)]),
            Some("array") => json!([]),
            Some("object") => {
                let required: Vec<_> = schema["required"].as_array().cloned().unwrap_or_default();
                let members = schema["properties"].as_object().into_iter().flatten();
                let wanted = members.filter(|(name, _)| all || required.contains(&json!(name)));
                Value::Object(wanted.map(|(name, of)| (name.clone(), self.good(of, all))).collect())
            }
            _ => Value::Null,
        }
    }

    /// The same value broken in every way the schema names.
    fn broken(&self, schema: &Value, value: &Value) -> Vec<Value> {
        let schema = self.resolve(schema);
        let mut all = vec![json!([]), json!("text"), Value::Null];
        let Value::Object(members) = value else { return all };
        let with = |change: &dyn Fn(&mut Map<String, Value>)| {
            let mut members = members.clone();
            change(&mut members);
            Value::Object(members)
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            all.push(with(&|members| drop(members.remove(name.as_str().unwrap()))));
        }
        if schema["additionalProperties"] == json!(false) {
            all.push(with(&|members| drop(members.insert("excpt".into(), json!({})))));
        }
        for (name, of) in schema["properties"].as_object().into_iter().flatten() {
            let of = self.resolve(of);
            let mut wrong = Vec::new();
            if of["type"].is_string() || of.get("oneOf").is_some() {
                wrong.push(Value::Null);
            }
            if let Some(min) = of["minimum"].as_f64() {
                wrong.push(json!(min - 1.0));
            }
            if let Some(max) = of["maximum"].as_f64() {
                wrong.push(json!(max + 1.0));
            }
            if of.get("enum").is_some() {
                wrong.push(json!("none of them"));
            } else if let Some(max) = of["maxLength"].as_u64() {
                wrong.extend([json!(""), json!("x".repeat(max as usize + 1))]);
            }
            if let Some(max) = of["maxItems"].as_u64() {
                wrong.push(json!(vec![self.good(&of["items"], true); max as usize + 1]));
            }
            if of["type"] == json!("object") && of.get("properties").is_some() {
                let inner = self.broken(of, &self.good(of, true));
                wrong.extend(inner.into_iter().filter(Value::is_object));
            }
            for wrong in wrong {
                all.push(with(&|members| drop(members.insert(name.clone(), wrong.clone()))));
            }
        }
        all
    }

    /// The answer's status is declared, and its body is of the shape declared for it.
    fn check(&self, operation: &Value, answer: &Answer, what: &str) {
        let declared = &operation["responses"][answer.status.to_string()];
        assert!(declared.is_object(), "{what}: {} is declared nowhere: {answer:?}", answer.status);
        // What is not in the contract's shape is described as text.
        let schema = declared.pointer("/content/application~1json/schema");
        if let Some(schema) = schema.filter(|schema| schema["type"] != json!("string")) {
            let mut found = Vec::new();
            self.faults(schema, &answer.json(), "", &mut found);
            assert!(found.is_empty(), "{what}: {found:?}\n{:.600}", answer.body);
        }
    }
}

fn operations(document: &Document) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document.0["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((path.clone(), method.to_ascii_uppercase(), operation.clone()));
        }
    }
    all
}

#[test]
fn good_requests_are_answered_as_declared() {
    let world = World::new(2, |_| {});
    let document = Document(get(&world, "/openapi.json").json());
    let mut good = 0;
    for (path, method, operation) in operations(&document) {
        let body = operation.pointer("/requestBody/content/application~1json/schema");
        let bodies: Vec<Value> = match body {
            Some(schema) => [false, true].map(|all| document.good(schema, all)).into(),
            None => vec![Value::Null],
        };
        for body in bodies {
            // The user of generated requests is there, and answers nothing.
            let client = world.connect(1, "/");
            let what = format!("{method} {path} {body}");
            let path = path.replace("{userId}", "u");
            let mut body = body;
            if body.get("timeoutMs").is_some() {
                body["timeoutMs"] = json!(1);
            }
            let answer = send(&world, request(&method, &path, &body.to_string()));
            document.check(&operation, &answer, &what);
            good += u32::from(answer.status < 300);
            world.vanish(client);
        }
    }
    assert!(good >= 30, "{good} of them were done");
}

#[test]
fn broken_requests_are_refused_as_declared() {
    let world = World::new(1, |_| {});
    let document = Document(get(&world, "/openapi.json").json());
    let mut broken = 0;
    for (path, method, operation) in operations(&document) {
        if let Some(schema) = operation.pointer("/requestBody/content/application~1json/schema") {
            for body in document.broken(schema, &document.good(schema, true)) {
                let answer = send(&world, request(&method, &path, &body.to_string()));
                let what = format!("{method} {path} {body:.300}");
                assert_eq!(answer.status, 422, "{what}: {answer:?}");
                document.check(&operation, &answer, &what);
                broken += 1;
            }
            let answer = send(&world, request(&method, &path, "{\"a\":"));
            assert_eq!(answer.code(), "INVALID_JSON");
            document.check(&operation, &answer, &path);
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["in"] == "query") {
            let schema = &parameter["schema"];
            if schema["type"] == "integer" || schema["type"] == "boolean" {
                let path = format!("{path}?{}=x", parameter["name"].as_str().unwrap());
                let answer = send(&world, request(&method, &path, ""));
                assert_eq!(answer.status, 422, "{path}: {answer:?}");
                document.check(&operation, &answer, &path);
                broken += 1;
            }
        }
    }
    assert!(broken > 200, "{broken} requests were made");
}
