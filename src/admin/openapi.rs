//! The OpenAPI document, read off the table of routes.

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ComponentsBuilder, ObjectBuilder, OneOfBuilder, Schema,
    SchemaType, Type,
};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::access::Access;
use super::route::{Answers, Method, Params, Place, Route, Schemas};
use super::router::served;
use super::state::AdminSettings;
use crate::command::Verb;
use crate::gateway::schema::{Member, NAME_BYTES_MAX, Payload, QUORUMS, Want};

/// Every failure has this shape.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failed {
    /// Always `false`.
    success: bool,
    /// For a person.
    message: String,
    /// For a program.
    error: FailedWhy,
}

/// Why a call failed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FailedWhy {
    /// The call's or command's, as in the header `X-Request-Id`; name it when you ask for help.
    id: String,
    /// `UPPER_SNAKE`: `VALIDATION_FAILED`, for instance.
    code: String,
    /// More, if there is more: for `VALIDATION_FAILED` a list of `{member, message}`, for
    /// `INVALID_JSON` `{line, column}`.
    #[schema(required = false)]
    details: Value,
    /// Whether the same call may succeed later.
    retryable: bool,
    /// How long to wait before that, if it can be said; `Retry-After` says it in seconds.
    #[schema(required = false, rename = "retryAfterMs")]
    retry_after_ms: u64,
}

const DESCRIPTION: &str = "REST of Corewire. JSON in, JSON out. Without an API key it exists only \
    on the admin listener, for this machine, and only as long as no key is configured; the public \
    listener serves the paths under /socket/ and /api/, /healthz and /readyz and always demands a \
    key, but for health.";

/// The document of what is served with these settings.
pub(super) fn document(settings: &AdminSettings) -> OpenApi {
    let mut schemas = Schemas::new();
    schemas.push(("Failed".into(), Failed::schema()));
    Failed::schemas(&mut schemas);
    let mut paths = PathsBuilder::new();
    let mut items: Vec<(&str, PathItem)> = Vec::new();
    for route in served(settings.gateway) {
        let method = match route.method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
        };
        let item = PathItem::new(method, operation(route, &mut schemas));
        match items.iter_mut().find(|(path, _)| *path == route.path) {
            Some((_, known)) => known.merge_operations(item),
            None => items.push((route.path, item)),
        }
    }
    for (path, item) in items {
        paths = paths.path(path, item);
    }
    let mut components = ComponentsBuilder::new()
        .security_scheme(
            "bearer",
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some("`Authorization: Bearer <key>`"))
                    .build(),
            ),
        )
        .security_scheme(
            "apiKey",
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
                "X-API-Key",
                "The same key in a header of its own",
            ))),
        );
    for (name, schema) in schemas {
        components = components.schema(name, schema);
    }
    let info = InfoBuilder::new()
        .title("Corewire")
        .version(settings.version)
        .description(Some(DESCRIPTION))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths.build())
        .components(Some(components.build()))
        .build()
}

fn operation(route: &Route, schemas: &mut Schemas) -> Operation {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.id))
        .summary(Some(route.summary))
        .tag(tag(route));
    if route.place == Place::AdminListener {
        operation = operation.description(Some("On the admin listener only."));
    }
    if let Access::Needs(scope) = route.access {
        let scope = format!("{scope:?}").to_ascii_lowercase();
        operation = operation
            .description(Some(format!("Needs the scope {scope}.")))
            .security(SecurityRequirement::new("bearer", Vec::<String>::new()))
            .security(SecurityRequirement::new("apiKey", Vec::<String>::new()));
    }
    for name in path_parameters(route.path) {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(plain(Type::String))),
        );
    }
    for parameter in parameters(route) {
        operation = operation.parameter(parameter);
    }
    if let Some(body) = route.body {
        let name = format!("{body:?}Request");
        let content = Content::new(Some(Ref::from_schema_name(&name)));
        schemas.push((name, shape(body).into()));
        let body = RequestBodyBuilder::new()
            .content("application/json", content)
            .required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    let success = success(route, schemas);
    operation = operation.response("200", success.clone());
    for (status, meaning) in failures(route) {
        operation = operation.response(status.to_string(), failure(meaning));
    }
    for (status, meaning) in route.statuses {
        let response = if *status < 400 {
            let mut response = success.clone();
            response.description = (*meaning).to_owned();
            response
        } else {
            failure(meaning)
        };
        operation = operation.response(status.to_string(), response);
    }
    operation.build()
}

/// The parameters of the query and the headers.
fn parameters(route: &Route) -> Vec<ParameterBuilder> {
    let one = |name: &str, place| {
        ParameterBuilder::new().name(name).parameter_in(place).required(Required::False)
    };
    let mut parameters: Vec<_> = match route.query {
        Params::None => Vec::new(),
        Params::Listed(listed) => listed
            .iter()
            .map(|param| {
                let schema = Some(plain(Type::String));
                one(param.name, ParameterIn::Query).description(Some(param.help)).schema(schema)
            })
            .collect(),
        Params::Members(payload) => payload
            .members()
            .iter()
            .map(|known| one(known.name, ParameterIn::Query).schema(Some(member(known.want))))
            .collect(),
    };
    if route.idempotent {
        let help = "Makes the write idempotent for ten minutes: its first answer is given again.";
        let key = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .min_length(Some(1))
            .max_length(Some(NAME_BYTES_MAX));
        let key =
            one("Idempotency-Key", ParameterIn::Header).schema(Some(Schema::from(key.build())));
        parameters.push(key.description(Some(help)));
    }
    parameters
}

fn tag(route: &Route) -> &'static str {
    match route.place {
        Place::Everywhere => "server",
        Place::Gateway => "gateway",
        Place::AdminListener => "admin",
    }
}

/// The names in braces of a path.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn plain(kind: Type) -> Schema {
    ObjectBuilder::new().schema_type(SchemaType::new(kind)).build().into()
}

fn success(route: &Route, schemas: &mut Schemas) -> Response {
    let data: RefOr<Schema> = match route.answers {
        Answers::Raw(media_type) => {
            let content = Content::new(Some(plain(Type::String)));
            return ResponseBuilder::new()
                .description(route.summary)
                .content(media_type, content)
                .build();
        }
        Answers::Data(of) => of(schemas),
        Answers::Map(of) => {
            let of = AdditionalProperties::RefOr(of(schemas));
            Schema::from(ObjectBuilder::new().additional_properties(Some(of)).build()).into()
        }
        Answers::Page(of) | Answers::List(of) => {
            Schema::from(ArrayBuilder::new().items(of(schemas)).build()).into()
        }
    };
    let mut shape = ObjectBuilder::new()
        .property("success", plain(Type::Boolean))
        .required("success")
        .property("message", plain(Type::String))
        .required("message")
        .property("data", data)
        .required("data");
    if let Answers::Page(_) = route.answers {
        let cursor = SchemaType::Array(vec![Type::String, Type::Null]);
        let cursor = ObjectBuilder::new().schema_type(cursor).build();
        shape = shape.property("nextCursor", Schema::from(cursor)).required("nextCursor");
    }
    ResponseBuilder::new()
        .description(route.summary)
        .content("application/json", Content::new(Some(Schema::from(shape.build()))))
        .build()
}

fn failure(meaning: &str) -> Response {
    ResponseBuilder::new()
        .description(meaning)
        .content("application/json", Content::new(Some(Ref::from_schema_name("Failed"))))
        .build()
}

/// The schema of a body, read off the table that judges it.
fn shape(payload: Payload) -> Schema {
    object(payload.members(), payload.is_strict()).build().into()
}

fn object(members: &[Member], strict: bool) -> ObjectBuilder {
    let mut shape = ObjectBuilder::new();
    for Member { name, want, required } in members {
        shape = shape.property(*name, member(*want));
        if *required {
            shape = shape.required(*name);
        }
    }
    let no_other = AdditionalProperties::FreeForm(false);
    shape.additional_properties(strict.then_some(no_other))
}

/// A command of a batch: the members of its verb beside the verb.
fn command() -> ObjectBuilder {
    let verbs = Verb::ALL.iter().map(|verb| verb.facts()).filter(|facts| facts.in_batch);
    let verb = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::String))
        .enum_values(Some(verbs.map(|facts| facts.name)));
    ObjectBuilder::new()
        .property("verb", Schema::from(verb.build()))
        .required("verb")
        .description(Some("The members that a command of this verb has alone, beside `verb`"))
}

fn member(want: Want) -> Schema {
    let text = || ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
    let name = || text().min_length(Some(1)).max_length(Some(NAME_BYTES_MAX));
    let shape = match want {
        Want::Name => name(),
        Want::Event => name().description(Some("No name that Socket.IO itself uses")),
        Want::Room => name().description(Some("No room of a user or session")),
        Want::Text(bytes_max) => text().min_length(Some(1)).max_length(Some(bytes_max)),
        Want::Word(words) => text().enum_values(Some(words.iter().copied())),
        Want::Number(min, max) => ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Number))
            .minimum(Some(min))
            .maximum((max < f64::MAX).then_some(max)),
        Want::Flag => ObjectBuilder::new().schema_type(SchemaType::new(Type::Boolean)),
        Want::Any => ObjectBuilder::new().schema_type(SchemaType::AnyValue),
        Want::Count(min, max) => whole(min, max),
        Want::Quorum(max) => return quorum(max),
        Want::List => {
            let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue).build();
            return ArrayBuilder::new().items(RefOr::T(Schema::from(any))).build().into();
        }
        Want::Each(want, max) => {
            return ArrayBuilder::new()
                .items(RefOr::T(member(*want)))
                .max_items(Some(max))
                .build()
                .into();
        }
        Want::Shape(members) => object(members, true),
        Want::Object => command(),
    };
    shape.build().into()
}

#[expect(clippy::cast_precision_loss, reason = "the bounds are far below 2^53")]
fn whole(min: u64, max: u64) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Integer))
        .minimum(Some(min as f64))
        .maximum(Some(max as f64))
}

fn quorum(max: u64) -> Schema {
    let words =
        ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).enum_values(Some(QUORUMS));
    let either = OneOfBuilder::new().item(words.build()).item(whole(1, max).build());
    either.build().into()
}

/// The failures that follow from the columns of a row.
fn failures(route: &Route) -> Vec<(u16, &'static str)> {
    let mut failures = Vec::new();
    if route.access != Access::Open {
        failures.push((401, "`UNAUTHORIZED`: no API key, or one that is not known."));
        failures.push((403, "`FORBIDDEN`: the API key lacks the scope."));
    }
    if route.method == Method::Post {
        failures.push((400, "`INVALID_JSON`, with line and column."));
        failures.push((413, "`PAYLOAD_TOO_LARGE`."));
        failures.push((415, "`UNSUPPORTED_MEDIA_TYPE`: not application/json."));
        failures.push((
            429,
            "`RATE_LIMITED`, `LIMIT_REACHED` or `TOO_MANY_PENDING`, with Retry-After.",
        ));
    }
    if route.idempotent {
        let meaning =
            "`IDEMPOTENCY_IN_PROGRESS`: the first with this key still runs; with Retry-After.";
        failures.push((409, meaning));
    }
    let has_query = !matches!(route.query, Params::None);
    if route.method == Method::Post || has_query || route.path.contains('{') {
        let meaning = "`VALIDATION_FAILED`, naming each member; `IDEMPOTENCY_MISMATCH`.";
        failures.push((422, meaning));
    }
    if route.place == Place::Gateway {
        failures.push((503, "`OVERLOADED`, with Retry-After."));
    }
    failures
}
